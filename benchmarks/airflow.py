"""What Airflow adds to a pipeline: a DAG run's wall time beyond its critical path, and how long a node takes to start.

    make airflow                                  # in another terminal; it prints the variables that this one needs
    python -m benchmarks.airflow NAME [--repeats 3]

Each repeat runs the DAG anew (`cache` off), then once more with everything cached. The critical path is the chain of
tasks with the greatest sum of durations as Airflow has them; what the run took beyond it is scheduling. A cached node
does nothing but start, find its result and say so: how long its task takes is what starting a node costs. Prints a
table in Markdown.
"""

from __future__ import annotations

import argparse
import graphlib
import os
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benison.pipelines.airflow.api import AirflowClient, configured

_POLL_S = 2.0


@dataclass(frozen=True)
class Seen:
    """One run of a DAG (seconds).

    Attributes:
        wall: from its start to its end.
        path: the tasks of its critical path.
        busy: the sum of their durations.
        nodes: duration of every task, by id.
    """

    wall: float
    path: tuple[str, ...]
    busy: float
    nodes: Mapping[str, float]

    @property
    def per_level(self) -> float:
        """Scheduling for each task of the critical path."""
        return (self.wall - self.busy) / len(self.path)


def main() -> None:
    """Runs the DAG and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", help="of a pipeline that is compiled there")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    airflow = configured()
    downstream = airflow.downstream(given.name)
    anew, cached = [], []
    for _ in range(given.repeats):
        anew.append(_run(airflow, given.name, downstream, cache=False))
        cached.append(_run(airflow, given.name, downstream, cache=True))
    print(
        f"{given.name} on Airflow, {os.cpu_count()} cores, {given.repeats} repeats; lowest and highest in brackets.\n"
    )
    print(_table({"anew": anew, "cached": cached}))
    print(f"Critical path: {' → '.join(anew[-1].path)}.\n")
    starts = [seconds for seen in cached for task, seconds in seen.nodes.items() if task not in ("Begin", "Pusher")]
    print(f"- scheduling per level: {_range([one.per_level for one in anew])} s; aim 1.5")
    print(f"- start of a node: {_range(starts)} s; aim 5")


def _run(airflow: AirflowClient, dag: str, downstream: Mapping[str, Sequence[str]], *, cache: bool) -> Seen:
    run_id = airflow.trigger(dag, conf={"cache": cache})
    while (run := airflow.run(dag, run_id))["state"] not in ("success", "failed"):
        time.sleep(_POLL_S)
    if run["state"] == "failed":
        raise SystemExit(f"{airflow.url}/dags/{dag}/runs/{run_id} failed")
    tasks = airflow.tasks(dag, run_id)
    seconds = {name: float(task["duration"] or 0.0) for name, task in tasks.items()}
    path = critical_path(downstream, seconds)
    wall = (_time(run["end_date"]) - _time(run["start_date"])).total_seconds()
    return Seen(wall, path, sum(seconds[name] for name in path), seconds)


def critical_path(downstream: Mapping[str, Sequence[str]], seconds: Mapping[str, float]) -> tuple[str, ...]:
    """The chain of tasks with the greatest sum of durations."""
    best: dict[str, tuple[float, tuple[str, ...]]] = {}
    for name in graphlib.TopologicalSorter(downstream).static_order():  # those that wait come first
        later = max((best[after] for after in downstream[name]), default=(0.0, ()))
        best[name] = (seconds.get(name, 0.0) + later[0], (name, *later[1]))
    return max(best.values())[1]


def _time(text: Any) -> datetime:
    return datetime.fromisoformat(str(text).replace("Z", "+00:00"))


def _table(runs: Mapping[str, Sequence[Seen]]) -> str:
    lines = ["| run | wall (s) | critical path (s) | tasks on it | beyond it, per task (s) |", "|---|---|---|---|---|"]
    for name, seen in runs.items():
        figures = [(one.wall, one.busy, float(len(one.path)), one.per_level) for one in seen]
        lines.append(f"| {name} | {' | '.join(map(_range, zip(*figures, strict=True)))} |")
    return "\n".join(lines) + "\n"


def _range(values: Iterable[float]) -> str:
    found = sorted(values)
    return f"{statistics.median(found):.4g} ({found[0]:.4g}-{found[-1]:.4g})"


if __name__ == "__main__":
    main()
