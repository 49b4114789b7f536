"""Measure how the time and memory of each node grow with the number of rows: flights x1, x3 and x10.

    python -m benchmarks.growth [--rows 1,3,10] [--spans 3-5] [--folder DIR]

For each scale, it draws the flights of each month with replacement into a CSV with that many times the rows. It runs
every node of the pipeline in its own process, with one member that trains for one epoch. It prints tables in Markdown:
wall time, processor time and largest resident memory. For a node that runs once per span, they show the largest value.
With --folder, an interrupted measurement continues with the next node.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benison.pipelines.compilation.compiled import Compiled, Node
from benison.pipelines.config import Pipeline
from benison.pipelines.config_file import load
from benison.pipelines.records import runs
from benison.pipelines.running.workers import Worker, last_lines

MEMBER = "linear"
SEED = 7
_RUN = "growth"
_WRITE = "import sys, pathlib; from benison.pipelines.flights.source import write; write(pathlib.Path(sys.argv[1]))"


@dataclass(frozen=True)
class Measurement:
    """The time and memory of one node.

    Attributes:
        id: id of the node; it contains the span if the node runs once per span.
        name: name of the node, without the span.
        wall: wall time, including the imports of the process (seconds).
        processor: processor time of all threads, in user and kernel mode (seconds).
        megabytes: largest resident set of the process or of one of its children (2**20 bytes).
    """

    id: str
    name: str
    wall: float
    processor: float
    megabytes: float


def main() -> None:
    """Measure every node and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", default="1,3,10", help="multiples of the number of rows (default: %(default)s)")
    parser.add_argument("--spans", default="3-5", help="months; the last one is the test split (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="folder for data and results (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).absolute()
        originals = _originals(folder)
        measured = {}
        for scale in map(int, arguments.rows.split(",")):
            root = folder / f"x{scale}"
            rows = draw(originals, root / "csv", scale, _months(arguments.spans))
            _report(f"x{scale}: {rows:,} rows")
            measured[f"x{scale}: {rows:,} rows"] = list(_measure(root, arguments.spans))
    print(tables(measured))


def _originals(folder: Path) -> Path:
    """Write the original flights, one CSV per month, and return their folder."""
    target = folder / "flights"
    if not (target / "12.csv").is_file():
        target.mkdir(parents=True, exist_ok=True)
        # In another process: the measured memory of a node starts with the memory of its parent at that time.
        subprocess.run([sys.executable, "-c", _WRITE, str(target)], check=True, stdout=subprocess.DEVNULL)
    return target


def _months(spans: str) -> range:
    first, _, last = spans.partition("-")
    return range(int(first), int(last or first) + 1)


def draw(originals: Path, folder: Path, scale: int, months: Sequence[int]) -> int:
    """Write each month with `scale` times its rows, drawn with replacement and in their original order.

    Args:
        originals: folder with one CSV per month.
        folder: folder to write to.
        scale: multiple of the number of rows.
        months: months to write.

    Returns:
        The number of rows written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = 0
    for month in months:
        header, *lines = (originals / f"{month}.csv").read_bytes().splitlines(keepends=True)
        rng = random.Random(SEED + month)
        with (folder / f"{month}.csv").open("wb") as file:
            file.write(header)
            for index in sorted(rng.choices(range(len(lines)), k=len(lines) * scale)):
                file.write(lines[index])
        drawn += len(lines) * scale
    return drawn


def _measure(root: Path, spans: str) -> Iterator[Measurement]:
    """Yield the measurements of all nodes; run those that are not in the results file, one at a time."""
    results = root / "measured.jsonl"
    earlier = (
        [Measurement(**json.loads(line)) for line in results.read_text().splitlines()] if results.is_file() else []
    )
    yield from earlier
    compiled = _compile(_config(root), root, spans)
    for node in compiled.nodes:
        if any(node.id == measurement.id for measurement in earlier):
            continue
        measurement = _run(node, compiled, root)
        with results.open("a") as file:
            file.write(json.dumps(asdict(measurement)) + "\n")
        figures = f"{measurement.wall:.1f} s, {measurement.processor:.1f} s, {measurement.megabytes:.0f} MB"
        _report(f"  {node.id}: {figures}")
        yield measurement


def _config(root: Path) -> Pipeline:
    """Return the config of flights with the drawn rows and one member."""
    member = load("flights").ensemble.members[MEMBER].model_copy(update={"epochs": 1})
    return load(
        "flights",
        {
            "data.source": "null",
            "data.csv": json.dumps(f"{root}/csv/{{SPAN}}.csv"),
            "ensemble.members": json.dumps({MEMBER: member.model_dump(mode="json", exclude_none=True)}),
        },
    )


def _compile(config: Pipeline, root: Path, spans: str) -> Compiled:
    """Ingest the spans and compile the pipeline, in a process that imports TFX."""
    worker = Worker()
    try:
        worker.send(
            operation="compile",
            config=config.model_dump(mode="json"),
            span=spans,
            only_ingest=False,
            ir=str(root / "pipeline.json"),
            root=str(root),
            log=str(root / "logs" / "compile.log"),
        )
        return Compiled.from_json(worker.receive())
    finally:
        worker.end()


def _run(node: Node, compiled: Compiled, root: Path) -> Measurement:
    """Run one node in a new process.

    Raises:
        SystemExit: the node failed; the message has the end of its log.
    """
    run_id = _RUN if node.ir == compiled.ir else runs.sub_run_id(_RUN, node.ir.stem)
    command = [sys.executable, "-m", "benison.pipelines.node", "--ir", str(node.ir), "--node", node.name]
    command += ["--run-id", run_id, "--root", str(root), "--no-cache"]
    log = root / "logs" / f"{node.id}.log"
    started = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
        _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit("\n".join([f"{node.id}: exit code {process.returncode}; the end of {log}:", *last_lines(log)]))
    return Measurement(node.id, node.name, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def tables(measured: Mapping[str, Sequence[Measurement]]) -> str:
    """Return one table per figure, with one row per node and one column per scale.

    Args:
        measured: measurements by column title.
    """
    names = list(dict.fromkeys(node.name for nodes in measured.values() for node in nodes))
    parts = []
    for title, figure in (("wall seconds", "wall"), ("processor seconds", "processor"), ("largest MB", "megabytes")):
        rows = [[title, *measured], ["---"] * (len(measured) + 1)]
        for name in names:
            columns = [[getattr(node, figure) for node in nodes if node.name == name] for nodes in measured.values()]
            rows.append([name, *(f"{max(figures):,.0f}" for figures in columns)])
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n")
    return "\n".join(parts)


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
