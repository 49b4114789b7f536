"""ExampleGen's driver with cache keys from file content; TFX's own driver uses size and modification time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tfx.components.example_gen import driver as base_driver
from tfx.components.example_gen.input_processor import FileBasedInputProcessor

from benison.components.ingest.csv_table import matching_files
from benison.serving.files import checksum


class ContentDriver(base_driver.FileBasedDriver):
    """Driver that puts a hash of the files' content into the cache key, instead of size and time."""

    def get_input_processor(
        self, splits: Any, range_config: Any = None, input_base_uri: str | None = None
    ) -> FileBasedInputProcessor:
        return _ContentProcessor(input_base_uri, splits, range_config)


class _ContentProcessor(FileBasedInputProcessor):
    def get_input_fingerprint(self, span: int, version: int | None) -> str:
        digest = hashlib.sha256()
        for split in self._splits:
            pattern = self.get_pattern_for_span_version(split.pattern, span, version)
            for file in matching_files(f"{self._input_base_uri}/{pattern}"):
                digest.update(f"{split.name}\0{Path(file).name}\0{_content_hash(Path(file))}\0".encode())
        return digest.hexdigest()


def _content_hash(file: Path) -> str:
    """Return a hash of a file's content. A landed span never changes, so its hash is the one recorded on landing."""
    landed = file.with_name("span.json")
    if landed.is_file():
        return str(json.loads(landed.read_text())["sha256"])
    return checksum.of_file(file)
