"""The record of a pipeline's last whole run: what it depended on, and the state of its entries in ML Metadata.

A run that finds everything as the record says takes all results from the last one without importing TFX; see
`benison.pipelines.running.unchanged`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benison.serving.files import atomic_file

_INPUTS = "inputs.json"  # in the folder of a run
FORMAT = 1  # another release may record something else


@dataclass(frozen=True)
class WholeRun:
    """The record.

    Attributes:
        run: the id of the run.
        inputs: what it depended on, each by its content, as plain data; see `benison.pipelines.running.run_inputs`.
        origins: ids of the executions that wrote the results, by the ids of the run's own executions.
        entries: a hash of the run's entries in ML Metadata.
        newest: id of the pipeline's newest execution at the end of the run.
        format: the form of this record.
    """

    run: str
    inputs: Mapping[str, Any]
    origins: Mapping[int, int]
    entries: str
    newest: int
    format: int = FORMAT

    def save(self, root: Path, pipeline: str) -> None:
        """Write the record in one step."""
        atomic_file.write(_file(root, pipeline), json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")


def read(root: Path, pipeline: str) -> WholeRun | None:
    """Return the record of a pipeline's last whole run; None if there is none, or it cannot be read."""
    try:
        data = json.loads(_file(root, pipeline).read_text())
        record = WholeRun(**{**data, "origins": {int(own): origin for own, origin in data["origins"].items()}})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return record if record.format == FORMAT else None


def save_inputs(run: Path, inputs: Mapping[str, Any]) -> None:
    """Write what a run depended on into its folder, for the comparison with the next run."""
    atomic_file.write(run / _INPUTS, json.dumps(inputs, sort_keys=True) + "\n")


def read_inputs(run: Path) -> dict[str, Any] | None:
    """Return what a run depended on; None if it is not known."""
    try:
        return dict(json.loads((run / _INPUTS).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Yield the dotted names of what differs between two records of inputs; sorted."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif before != now:
        yield name


def _file(root: Path, pipeline: str) -> Path:
    return root / "runs" / f".{pipeline}.whole.json"
