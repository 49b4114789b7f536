"""Compare a search in two processes with the same search in one: the convolutional member of digits.

    python -m benchmarks.tuner [--pairs 2] [--trials 16] [--epochs 24] [--folder DIR]

It runs the pipeline up to Transform, then the Tuner with one worker and with two, in pairs of the same seed. It prints
the seconds of the node, with the start of its processes, and the ratio of each pair. It checks that both tried the same
values and scored them the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_TUNER = "ensemble.members.cnn.tuner"
_SPACE = "{filters: [8, 16, 24], dropout: {min: 0.0, max: 0.4}, learning_rate: {min: 0.001, max: 0.01, sampling: log}}"


def main() -> None:
    """Measure the pairs and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=2, help="number of pairs (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=16, help="trials of a search (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=24, help="epochs of a trial (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="ROOT (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (arguments.folder or Path(temporary)).absolute()
        _run(root, "--to", "Transform")
        ratios = []
        for pair in range(arguments.pairs):
            # The second pair begins with two workers, so that a machine that becomes slower does not favour either.
            order = (1, 2) if pair % 2 == 0 else (2, 1)
            measured = {workers: _search(root, workers, pair + 1, arguments) for workers in order}
            (one, trials), (two, others) = measured[1], measured[2]
            if trials != others:
                raise SystemExit(f"the trials differ:\n{trials}\n{others}")
            ratios.append(one / two)
            print(f"{len(trials)} trials: one worker {one:.1f} s, two {two:.1f} s, ratio {one / two:.2f}", flush=True)
        print(f"median ratio {statistics.median(ratios):.2f}")


def _search(root: Path, workers: int, seed: int, arguments: argparse.Namespace) -> tuple[float, list[Any]]:
    """Run the Tuner; return its seconds, and its trials in the order in which they were chosen."""
    import pyarrow.parquet as pq

    settings = {
        "seed": seed,
        "members.cnn.hyperparameters": "{}",
        _TUNER: f"{{trials: {arguments.trials}, epochs: {arguments.epochs}, workers: {workers}, space: {_SPACE}}}",
    }
    run = _run(root, "--to", "Tuner.cnn", *(f"--set={key}={value}" for key, value in settings.items()))
    node = next(node for node in run["nodes"] if node["id"] == "Tuner.cnn")
    rows = pq.read_table(Path(node["outputs"]["tuner_results"][0]["uri"]) / "trials.parquet").to_pylist()
    values = [
        {key: value for key, value in row.items() if key.startswith("hp.") or key == "trial"}
        | {"score": round(row["score"], 3)}
        for row in rows
    ]
    return float(node["seconds"]), sorted(values, key=lambda row: str(row["trial"]))


def _run(root: Path, *options: str) -> dict[str, Any]:
    """Run digits; return its record."""
    benison = str(Path(sys.executable).with_name("benison"))
    subprocess.run([benison, "run", "digits", "--root", str(root), *options], check=True, stdout=subprocess.DEVNULL)
    record = max(root.glob("runs/digits-*/run.json"), key=lambda file: file.stat().st_mtime)
    return dict(json.loads(record.read_text()))


if __name__ == "__main__":
    main()
