"""Measure a whole run, from a CSV to the pushed ensemble, against the same graph on TFX's LocalDagRunner.

    python -m benchmarks.pipeline [--rows 10000] [--numbers 12] [--categories 6] [--rounds 3] [--folder DIR]

`benison init` writes the pipeline of a table with numbers, categories, a date and texts. In each round, every variant
runs it once, cold: in a new ROOT, without a cache.

    benison           `benison run`
    LocalDagRunner    the same graph on TFX's LocalDagRunner, one node after the other in one process
    before            the graph that `benison init` and `graph.build` made before members could be trees, from a
                      worktree of that commit, on LocalDagRunner

It prints a table in Markdown: wall time from the start of the command to its end, processor time of all its processes,
and the largest memory of all of them together (proportional set size, read twice a second), each as the median and the
range of the rounds; and the ratio of the wall times in the same round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benison.components import processes

BEFORE = "0105f6b"  # the commit before trees, folds and packed columns
NAME, LABEL, SEED = "table", "bought", 0
_EVERY_S = 0.5
_WORDS = (
    "red",
    "green",
    "blue",
    "slow",
    "quick",
    "broken",
    "new",
    "old",
    "late",
    "refund",
    "gift",
    "parcel",
    "service",
)
_LOCAL_DAG_RUNNER = """
import sys
from pathlib import Path
from benison.components import legacy_keras
legacy_keras.settle_keras()
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from benison.pipelines import config_file, graph
pipeline = graph.build(config_file.load(sys.argv[1]), Path(sys.argv[2]))
pipeline.metadata_connection_config = metadata.sqlite_metadata_connection_config(f"{sys.argv[2]}/metadata.sqlite")
LocalDagRunner().run(pipeline)
"""


@dataclass(frozen=True)
class Variant:
    """One way to run the pipeline.

    Attributes:
        project: the folder of its YAML.
        command: the command; `{root}` is replaced by a new ROOT.
        environment: its environment.
    """

    project: Path
    command: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Measurement:
    """The wall time and processor time (seconds) and the memory (2**20 bytes) of one run."""

    wall: float
    processor: float
    megabytes: float


def main() -> None:
    """Measure all variants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the table (default: %(default)s)")
    parser.add_argument("--numbers", type=int, default=12, help="columns of numbers, at least 5 (default: %(default)s)")
    parser.add_argument("--categories", type=int, default=6, help="columns of categories (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each variant (default: %(default)s)")
    parser.add_argument("--only", default="", help="only these variants, separated by commas")
    parser.add_argument("--folder", type=Path, help="folder for the projects and logs (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        csv = folder / "table.csv"
        write_table(csv, arguments.rows, arguments.numbers, arguments.categories)
        chosen = [name for name in arguments.only.split(",") if name]
        variants = {name: v for name, v in _variants(folder, csv).items() if not chosen or name in chosen}
        rounds: list[dict[str, Measurement]] = []
        for number in range(arguments.rounds):
            # In turn from the front and from the back, so that none is always the one after a rest.
            order = list(variants)[:: 1 if number % 2 == 0 else -1]
            rounds.append({name: _measure(variants[name], folder, f"{name}-{number}") for name in order})
    print(f"{arguments.rows} rows, {arguments.numbers + arguments.categories + 2} columns; {len(rounds)} rounds\n")
    print(table(list(variants), rounds))


def write_table(csv: Path, rows: int, numbers: int, categories: int) -> None:
    """Write a table with a binary label that depends on numbers, categories and texts."""
    import pandas as pd

    random = np.random.default_rng(SEED)
    values = random.normal(size=(rows, numbers))
    values[:, 1] = np.exp(1.5 * values[:, 1]) * 100
    columns: dict[str, np.ndarray] = {f"n{column}": values[:, column].round(4) for column in range(numbers)}
    columns["n2"] = np.where(random.random(rows) < 0.1, np.nan, columns["n2"])
    for column in range(categories):
        size = 4 + 3 * column
        numbered = np.minimum(random.pareto(1.2, rows).astype(int), size - 1)
        columns[f"c{column}"] = np.char.add(chr(97 + column % 26), numbered.astype(str))
    days = np.datetime64("2023-01-01") + random.integers(0, 700, rows).astype("timedelta64[D]")
    texts = [" ".join(random.choice(_WORDS, random.integers(3, 9))) for _ in range(rows)]
    refund = np.array(["refund" in text for text in texts])
    score = values[:, 0] + values[:, 3] * values[:, 4] / 2 + 1.2 * (columns["c0"] == "a1") + refund - 0.5
    bought = random.random(rows) < 1 / (1 + np.exp(-score))
    frame = pd.DataFrame({**columns, "day": days.astype(str), "note": texts, LABEL: np.where(bought, "yes", "no")})
    frame.to_csv(csv, index=False)


def _variants(folder: Path, csv: Path) -> dict[str, Variant]:
    repository = Path(__file__).resolve().parents[1]
    worktree = folder / "before"
    if not worktree.is_dir():
        subprocess.run(["git", "-C", repository, "worktree", "prune"], check=True)
        subprocess.run(["git", "-C", repository, "worktree", "add", "-q", "--detach", worktree, BEFORE], check=True)
    variants = {}
    for name, source in (("benison", repository), ("LocalDagRunner", repository), ("before", worktree)):
        project = folder / f"project-{name}"
        environment = {**os.environ, "PYTHONPATH": str(source / "src"), "TF_CPP_MIN_LOG_LEVEL": "3"}
        init = [sys.executable, "-m", "benison", "init", NAME, "--csv", str(csv), "--label", LABEL, "--force"]
        project.mkdir(exist_ok=True)
        subprocess.run(init, cwd=project, env=environment, check=True, stdout=subprocess.DEVNULL)
        yaml = str(next(project.rglob(f"{NAME}.yaml")))
        command = [sys.executable, "-c", _LOCAL_DAG_RUNNER, yaml, "{root}"]
        if name == "benison":
            command = [sys.executable, "-m", "benison", "run", yaml, "--root", "{root}"]
        variants[name] = Variant(project, command, environment)
    return variants


def _measure(variant: Variant, folder: Path, name: str) -> Measurement:
    """Run a variant in a new ROOT.

    Raises:
        SystemExit: it failed; the message names its log.
    """
    root, log = folder / f"root-{name}", folder / f"{name}.log"
    root.mkdir()
    command = [part.replace("{root}", str(root)) for part in variant.command]
    started = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=variant.project, env=variant.environment, stdout=file, stderr=file)
        peak = _Peak(process.pid)
        _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{name}: exit code {process.returncode}; see {log}")
    measurement = Measurement(wall, used.ru_utime + used.ru_stime, peak.end())
    print(f"{name}: {wall:.1f} s, {measurement.processor:.1f} s, {measurement.megabytes:.0f} MB", file=sys.stderr)
    return measurement


class _Peak(threading.Thread):
    """Reads the memory of a process and all its children until they have ended."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self._bytes = 0
        self.start()

    def run(self) -> None:
        """Read until `end` is called."""
        while not self._ended.wait(_EVERY_S):
            self._bytes = max(self._bytes, sum(map(_proportional_bytes, processes.process_tree(self._pid))))

    def end(self) -> float:
        """Stop reading; return the largest memory (2**20 bytes)."""
        self._ended.set()
        self.join()
        return self._bytes / (1 << 20)


def _proportional_bytes(pid: int) -> int:
    """Return the memory of a process, its share of what several processes have in common; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def table(names: Sequence[str], rounds: Sequence[Mapping[str, Measurement]]) -> str:
    """Return one row per variant; the ratio is that of the first variant to it.

    Args:
        names: the variants.
        rounds: the measurements of each round, by variant.
    """
    lines = ["| variant | wall s | processor s | largest MB | ratio of wall times |", "|---|---|---|---|---|"]
    for name in names:
        columns = [
            _spread([getattr(measured[name], figure) for measured in rounds], 0)
            for figure in ("wall", "processor", "megabytes")
        ]
        ratio = _spread([measured[names[0]].wall / measured[name].wall for measured in rounds], 2)
        lines.append(f"| {name} | {' | '.join(columns)} | {ratio} |")
    return "\n".join(lines)


def _spread(figures: Sequence[float], digits: int) -> str:
    """Return the median and the range."""
    middle, low, high = (f"{value:.{digits}f}" for value in (statistics.median(figures), min(figures), max(figures)))
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
