"""Compare the models of the two tracks of uv.lock: the metrics of one pipeline with several seeds on each track.

    make track && .ci/second-track track
    python -m benchmarks.tracks compare .benison/track.json CHROOT/benison/.benison/track.json

`make track` calls `run`, which runs the pipeline once per seed and writes the `test` metrics of every model to a file.
`compare` prints a table in Markdown from two such files: the mean over the seeds on each track, the largest difference
between seeds on one track (which is the noise), and the largest difference between the tracks at one seed.
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
FINISHED = (0, 3)  # exit codes of pushed and not blessed: both have metrics

# Values by seed, model and metric.
Metrics = Mapping[str, Mapping[str, Mapping[str, float]]]


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True, dest="command")
    run = commands.add_parser("run", help="run the pipeline on this track")
    run.add_argument("file", type=Path, help="file to write the metrics to")
    run.add_argument("--pipeline", default="penguins", help="name or YAML file (default: %(default)s)")
    run.add_argument("--seeds", default="1,2,3", help="seeds, separated by commas (default: %(default)s)")
    compare = commands.add_parser("compare", help="compare two such files")
    compare.add_argument("files", type=Path, nargs=2, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.command == "run":
        arguments.file.parent.mkdir(parents=True, exist_ok=True)
        arguments.file.write_text(json.dumps(_measure(arguments.pipeline, arguments.seeds.split(",")), indent=2) + "\n")
        print(f"wrote {arguments.file}")
    else:
        print(_comparison(*(json.loads(file.read_text()) for file in arguments.files)))


def _measure(pipeline: str, seeds: Iterable[str]) -> dict[str, Any]:
    """Return the versions of this track and its metrics."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            "pipeline": pipeline,
            "track": {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "metrics": {seed: _run(pipeline, seed, Path(folder, f"seed-{seed}")) for seed in seeds},
        }


def _run(pipeline: str, seed: str, root: Path) -> Mapping[str, Mapping[str, float]]:
    """Run the pipeline in its own ROOT and return the metrics on `test`, by model and metric.

    Raises:
        SystemExit: a node failed; the command has printed the reason.
    """
    from benison.pipelines.records.runs import history
    from benison.pipelines.reports.report import read_blessing

    benison = Path(sys.executable).with_name("benison")
    done = subprocess.run([benison, "run", pipeline, "--set", f"seed={seed}", "--root", root])
    blessing = read_blessing(history(root)[-1]) if done.returncode in FINISHED else None
    if blessing is None:
        raise SystemExit(f"seed {seed}: benison run {pipeline} has no blessing (exit code {done.returncode})")
    return dict(blessing["metrics"])


def _comparison(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Return the versions of both tracks and the table.

    Raises:
        SystemExit: the files have different pipelines or seeds.
    """
    for noun, a, b in (
        ("pipelines", first["pipeline"], second["pipeline"]),
        ("seeds", sorted(first["metrics"]), sorted(second["metrics"])),
    ):
        if a != b:
            raise SystemExit(f"the files have different {noun}: {a} and {b}; use the same for both runs")
    tracks = [f"{name}: {_versions(file['track'])}" for name, file in (("A", first), ("B", second))]
    header = ["on test", "metric", "mean, A", "mean, B", "largest seed difference, A", "B", "largest track difference"]
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *_rows(first, second))]
    return "\n".join([f"{first['pipeline']}, seeds {', '.join(first['metrics'])}", *tracks, "", *lines])


def _versions(track: Mapping[str, str]) -> str:
    return ", ".join(f"{package} {number}" for package, number in track.items())


def _rows(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[list[str]]:
    a, b = first["metrics"], second["metrics"]
    models = next(iter(a.values()))
    return [
        [model, metric, *_figures(_by_seed(a, model, metric), _by_seed(b, model, metric))]
        for model in models
        for metric in models[model]
    ]


def _by_seed(metrics: Metrics, model: str, metric: str) -> dict[str, float]:
    return {seed: models[model][metric] for seed, models in metrics.items()}


def _figures(a: Mapping[str, float], b: Mapping[str, float]) -> list[str]:
    """Return the means, the largest differences between seeds, and the largest difference between tracks."""
    means = [sum(values.values()) / len(values) for values in (a, b)]
    spreads = [max(values.values()) - min(values.values()) for values in (a, b)]
    difference = max(abs(a[seed] - b[seed]) for seed in a)
    return [*(f"{figure:.4f}" for figure in (*means, *spreads)), f"{difference:.0e}" if difference else "0"]


if __name__ == "__main__":
    main()
