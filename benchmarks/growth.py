"""How each node's time and memory grow with the rows: flights x1, x3, x10, every node in a process of its own.

    python -m benchmarks.growth [--rows 1,3,10] [--spans 3-5] [--folder DIR]

Draws each month's flights with replacement into a CSV that has so many times its rows, runs the pipeline with one
member that learns for one epoch, and prints tables in Markdown: wall time, processor time and the largest resident
memory of a node's process. A node that runs once a span has the figures of the span that took most. With --folder, a
measurement that was cut short goes on where it ended.
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
class Measured:
    """What one node took.

    Attributes:
        id: of the node, with its span's mark where it runs once a span.
        name: without it.
        wall: seconds, the process's imports included.
        processor: seconds of all its threads, in user mode and in the kernel.
        megabytes: largest resident set of the process, or of a process that it started if that is larger; 2**20 bytes.
    """

    id: str
    name: str
    wall: float
    processor: float
    megabytes: float


def main() -> None:
    """Measures, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", default="1,3,10", help="how many times the flights' own rows (default: %(default)s)")
    parser.add_argument("--spans", default="3-5", help="the months, the last one being the test (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where data and results are kept; default: a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).absolute()
        originals = _originals(folder)
        measured = {}
        for scale in map(int, given.rows.split(",")):
            root = folder / f"x{scale}"
            rows = draw(originals, root / "csv", scale, _months(given.spans))
            _say(f"x{scale}: {rows:,} rows")
            measured[f"x{scale}: {rows:,} rows"] = list(_measure(root, given.spans))
    print(tables(measured))


def _originals(folder: Path) -> Path:
    """The flights as they are, a CSV a month."""
    target = folder / "flights"
    if not (target / "12.csv").is_file():
        target.mkdir(parents=True, exist_ok=True)
        # Not in this process: what a node is said to have held begins with what its parent held when it started.
        subprocess.run([sys.executable, "-c", _WRITE, str(target)], check=True, stdout=subprocess.DEVNULL)
    return target


def _months(spans: str) -> range:
    first, _, last = spans.partition("-")
    return range(int(first), int(last or first) + 1)


def draw(originals: Path, folder: Path, scale: int, months: Sequence[int]) -> int:
    """Writes each month with `scale` times its rows, drawn with replacement and in their old order.

    Args:
        originals: folder with a CSV a month.
        folder: where to.
        scale: how many times the rows.
        months: which ones.

    Returns:
        How many rows were written.
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


def _measure(root: Path, spans: str) -> Iterator[Measured]:
    """Runs all nodes that were not measured before, one after the other."""
    results = root / "measured.jsonl"
    before = [Measured(**json.loads(line)) for line in results.read_text().splitlines()] if results.is_file() else []
    yield from before
    compiled = _compile(_config(root), root, spans)
    for node in compiled.nodes:
        if any(node.id == one.id for one in before):
            continue
        measured = _run(node, compiled, root)
        with results.open("a") as file:
            file.write(json.dumps(asdict(measured)) + "\n")
        _say(f"  {node.id}: {measured.wall:.1f} s, {measured.processor:.1f} s, {measured.megabytes:.0f} MB")
        yield measured


def _config(root: Path) -> Pipeline:
    """Flights with the drawn rows and one member."""
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
    """Lands the spans and compiles the pipeline, in a process that imports TFX."""
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


def _run(node: Node, compiled: Compiled, root: Path) -> Measured:
    """Runs one node in a fresh process.

    Raises:
        SystemExit: it failed; with the end of its log.
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
    return Measured(node.id, node.name, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def tables(measured: Mapping[str, Sequence[Measured]]) -> str:
    """One table a figure: a row a node, a column for each number of rows.

    Args:
        measured: by the head of the column.
    """
    names = list(dict.fromkeys(one.name for of_scale in measured.values() for one in of_scale))
    found = []
    for title, figure in (("wall seconds", "wall"), ("processor seconds", "processor"), ("largest MB", "megabytes")):
        rows = [[title, *measured], ["---"] * (len(measured) + 1)]
        for name in names:
            of_node = [[getattr(one, figure) for one in ones if one.name == name] for ones in measured.values()]
            rows.append([name, *(f"{max(figures):,.0f}" for figures in of_node)])
        found.append("\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n")
    return "\n".join(found)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
