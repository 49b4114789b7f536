"""ExampleGen's driver, by content: TFX's own recognises files by size and time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tfx.components.example_gen import driver as base_driver
from tfx.components.example_gen.input_processor import FileBasedInputProcessor

from benison.components.ingest.csv_table import matching_files


class ContentDriver(base_driver.FileBasedDriver):
    """Puts a hash of the files' content, instead of size and time, into the cache key."""

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
                digest.update(f"{split.name}\0{Path(file).name}\0{_content(Path(file))}\0".encode())
        return digest.hexdigest()


def _content(file: Path) -> str:
    """A hash of a file's content; of a landed span, which never changes, the one taken when it landed."""
    landed = file.with_name("span.json")
    if landed.is_file():
        return str(json.loads(landed.read_text())["sha256"])
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
