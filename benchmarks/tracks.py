"""Whether both tracks of uv.lock give the same models: one pipeline with several seeds on each, metrics side by side.

    make track && .ci/second-track track
    python -m benchmarks.tracks compare .benison/track.json CHROOT/benison/.benison/track.json

`run`, which `make track` calls, runs the pipeline once a seed and writes the metrics of every model on `test` to a
file. `compare` prints a table in Markdown from two such files: the mean over the seeds on each track, how far the seeds
lie apart on one track (the noise that a change of track is measured against), and how far the tracks lie apart at one
seed.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("tfx", "tensorflow", "keras", "numpy")
FINISHED = (0, 3)  # pushed, or not blessed: both have metrics

# By seed, model and metric.
Metrics = Mapping[str, Mapping[str, Mapping[str, float]]]


def main() -> None:
    """Does what one of the two commands says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True, dest="command")
    run = commands.add_parser("run", help="run the pipeline on this track")
    run.add_argument("file", type=Path, help="where the metrics go")
    run.add_argument("--pipeline", default="penguins", help="name or YAML file (default: %(default)s)")
    run.add_argument("--seeds", default="1,2,3", help="default: %(default)s")
    compare = commands.add_parser("compare", help="print two such files side by side")
    compare.add_argument("files", type=Path, nargs=2, metavar="FILE")
    given = parser.parse_args()
    if given.command == "run":
        given.file.parent.mkdir(parents=True, exist_ok=True)
        given.file.write_text(json.dumps(_measure(given.pipeline, given.seeds.split(",")), indent=2) + "\n")
        print(f"wrote {given.file}")
    else:
        print(_comparison(*(json.loads(file.read_text()) for file in given.files)))


def _measure(pipeline: str, seeds: Iterable[str]) -> dict[str, Any]:
    """What this track is, and its metrics."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            "pipeline": pipeline,
            "track": {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "metrics": {seed: _run(pipeline, seed, Path(folder, f"seed-{seed}")) for seed in seeds},
        }


def _run(pipeline: str, seed: str, root: Path) -> Mapping[str, Mapping[str, float]]:
    """Metrics on `test` by model and name, of a run in a ROOT of its own.

    Raises:
        SystemExit: a node failed; the command has said why.
    """
    from benison.pipelines.records.runs import history
    from benison.pipelines.reports.report import read_blessing

    benison = Path(sys.executable).with_name("benison")
    done = subprocess.run([benison, "run", pipeline, "--set", f"seed={seed}", "--root", root])
    blessing = read_blessing(history(root)[-1]) if done.returncode in FINISHED else None
    if blessing is None:
        raise SystemExit(f"seed {seed}: benison run {pipeline} ended with exit code {done.returncode} and no blessing")
    return dict(blessing["metrics"])


def _comparison(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Both tracks' makes, and the table.

    Raises:
        SystemExit: the files are of different pipelines or seeds.
    """
    for what, values in (
        ("pipelines", (one["pipeline"], other["pipeline"])),
        ("seeds", (sorted(one["metrics"]), sorted(other["metrics"]))),
    ):
        if values[0] != values[1]:
            raise SystemExit(f"the files have different {what}: {values[0]} and {values[1]}; run both alike")
    makes = [f"{name}: {', '.join(f'{k} {v}' for k, v in each['track'].items())}" for name, each in _named(one, other)]
    header = ["on test", "metric", "A, mean", "B, mean", "seeds apart on A", "on B", "A and B apart at one seed"]
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *_rows(one, other))]
    return "\n".join([f"{one['pipeline']}, seeds {', '.join(one['metrics'])}", *makes, "", *lines])


def _named(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    return ("A", one), ("B", other)


def _rows(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[list[str]]:
    a, b = one["metrics"], other["metrics"]
    models = next(iter(a.values()))
    return [
        [model, metric, *_figures(_by_seed(a, model, metric), _by_seed(b, model, metric))]
        for model in models
        for metric in models[model]
    ]


def _by_seed(metrics: Metrics, model: str, metric: str) -> dict[str, float]:
    return {seed: models[model][metric] for seed, models in metrics.items()}


def _figures(a: Mapping[str, float], b: Mapping[str, float]) -> list[str]:
    """Means, largest differences between seeds, and the largest difference between tracks at one seed."""
    means = [sum(values.values()) / len(values) for values in (a, b)]
    spreads = [max(values.values()) - min(values.values()) for values in (a, b)]
    apart = max(abs(a[seed] - b[seed]) for seed in a)
    return [*(f"{figure:.4f}" for figure in (*means, *spreads)), f"{apart:.0e}" if apart else "0"]


if __name__ == "__main__":
    main()
