"""A folder that predicts without Benison: the SavedModel, its spec and schema, and a reader of at most 100 lines.

A BentoML service and a Gradio app are the same folder with one more file, which imports the reader.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from benison.serving import missing_values
from benison.serving.ensemble import SPEC_FILE
from benison.serving.exports.proof import ROWS, NotExportable, Proof
from benison.serving.versions.local import EXTRA, MANIFEST, SAVED_MODEL, SCHEMA

if TYPE_CHECKING:
    from benison.serving.versions.local import Version

MODEL, ABOUT, READER = "model", "about.json", "predict.py"
_PARTS = (SAVED_MODEL, "fingerprint.pb", "variables", "assets")
_BESIDE = (MANIFEST, "card.md", ROWS, SCHEMA, f"{EXTRA}/{SPEC_FILE}")
_SECONDS = 600


def write(version: Version, folder: Path) -> str:
    """Write the folder, and run its reader on the rows of the version; return a sentence about that.

    Raises:
        NotExportable: the reader fails, or answers differently from training.
    """
    inputs = missing_values.read_inputs(version.path)
    if not inputs:
        raise NotExportable(f"{version.path}: its inputs are not described, because an older release pushed it")
    Proof.of(version)
    target = folder / MODEL
    target.mkdir(parents=True)
    for part in _PARTS:
        source = version.path / part
        if source.is_dir():
            shutil.copytree(source, target / part)
        elif source.is_file():
            shutil.copyfile(source, target / part)
    for name in _BESIDE:
        if (version.path / name).is_file():
            shutil.copyfile(version.path / name, folder / Path(name).name)
    manifest = version.manifest
    about = {
        "name": manifest.name,
        "version": version.number,
        "label": manifest.label,
        "problem": manifest.problem,
        "classes": list(manifest.classes),
        "inputs": inputs,
        "missing": list(manifest.missing),
        "decimal": manifest.decimal,
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / READER).write_text(_template("predict"), encoding="utf-8")
    write_requirements(folder)
    return _prove(folder)


def write_bentoml(version: Version, folder: Path) -> str:
    """Write a BentoML project: the bundle with `service.py`; see `write`."""
    proven = write(version, folder)
    (folder / "service.py").write_text(_template("bentoml_service"), encoding="utf-8")
    bentofile = 'service: "service:Service"\ninclude: ["*"]\npython: {requirements_txt: requirements.txt}\n'
    (folder / "bentofile.yaml").write_text(bentofile, encoding="utf-8")
    write_requirements(folder, "bentoml")
    return proven


def write_gradio(version: Version, folder: Path) -> str:
    """Write a Gradio project: the bundle with `app.py`; see `write`."""
    proven = write(version, folder)
    (folder / "app.py").write_text(_template("gradio_app"), encoding="utf-8")
    write_requirements(folder, "gradio")
    return proven


def write_requirements(folder: Path, *more: str) -> None:
    """Write the packages that a folder needs: this TensorFlow, and others."""
    lines = [f"tensorflow=={importlib.metadata.version('tensorflow')}", *more]
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _template(name: str) -> str:
    return (resources.files("benison.serving.exports") / "templates" / f"{name}.py.txt").read_text(encoding="utf-8")


def _prove(folder: Path) -> str:
    """Run the reader in a process of its own, which cannot import Benison."""
    code = (
        "import runpy, sys; sys.modules['benison'] = None; sys.argv = [sys.argv[1], '--check']; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / READER)],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NotExportable(f"{READER} does not answer as in training: {last}; nothing was written")
    return f"{READER}: {done.stdout.strip()}"
