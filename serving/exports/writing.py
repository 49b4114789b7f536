"""Writes an export of a version: it is proven in a hidden folder, which is then renamed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benison.serving.errors import UsageError
from benison.serving.exports import bundle, onnx_model, pmml

if TYPE_CHECKING:
    from benison.serving.versions.local import Version

ZIPPED = "bundle"
KINDS: Mapping[str, Callable[..., str]] = {
    "onnx": onnx_model.write,
    "pmml": pmml.write,
    "bundle": bundle.write,
    "bentoml": bundle.write_bentoml,
    "gradio": bundle.write_gradio,
}


def export(version: Version, kind: str, target: Path, **options: str | None) -> tuple[Path, str]:
    """Write an export.

    Args:
        version: the version.
        kind: a key of `KINDS`.
        target: the folder to write; for `bundle` the zip file is in it.
        options: of `pmml.write`: `member`, `evaluator`.

    Returns:
        What was written, and a sentence about its proof.

    Raises:
        UsageError: there is no such kind, or the folder exists.
        NotExportable: the version cannot be exported, or the export has other answers. Nothing was written.
    """
    if kind not in KINDS:
        raise UsageError(f"--to {kind}: expected one of {', '.join(KINDS)}")
    given = {name: value for name, value in options.items() if value is not None}
    if given and kind != "pmml":
        raise UsageError(f"--{next(iter(given))}: only for --to pmml")
    if target.exists():
        raise UsageError(f"{target}: already exists; delete it, or name another folder with --output")
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        proven = KINDS[kind](version, hidden, **given)
        name = f"{version.path.parent.name}-{version.number}"
        if kind == ZIPPED:
            zipped = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
            shutil.make_archive(str(zipped / name), "zip", hidden)
            shutil.rmtree(hidden)
            hidden = zipped
        hidden.chmod(0o755)
        hidden.rename(target)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    return (target / f"{name}.zip" if kind == ZIPPED else target), proven
