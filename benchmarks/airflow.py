"""Measure the overhead of Airflow: the wall time of a DAG run beyond its critical path, and the start time of a node.

    make airflow                                  # in another terminal; it prints the variables to set here
    python -m benchmarks.airflow NAME [--repeats 3]

Each repeat runs the DAG once without the cache, then once with every node cached. The critical path is the chain of
tasks with the largest sum of durations, as Airflow reports them; the rest of the wall time is scheduling. A cached node
only starts, finds its result and reports it, so the duration of its task is the cost of starting a node. It prints a
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
class DagRun:
    """The times of one run of a DAG (seconds).

    Attributes:
        wall: time from its start to its end.
        path: tasks of its critical path.
        busy: sum of the durations of these tasks.
        durations: duration of every task, by id.
    """

    wall: float
    path: tuple[str, ...]
    busy: float
    durations: Mapping[str, float]

    @property
    def per_level(self) -> float:
        """Scheduling time per task of the critical path."""
        return (self.wall - self.busy) / len(self.path)


def main() -> None:
    """Run the DAG and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", help="name of a pipeline that is compiled for this Airflow")
    parser.add_argument("--repeats", type=int, default=3, help="number of repeats (default: %(default)s)")
    arguments = parser.parse_args()
    airflow = configured()
    downstream = airflow.downstream(arguments.name)
    uncached, cached = [], []
    for _ in range(arguments.repeats):
        uncached.append(_run(airflow, arguments.name, downstream, cache=False))
        cached.append(_run(airflow, arguments.name, downstream, cache=True))
    print(
        f"{arguments.name} on Airflow, {os.cpu_count()} cores, {arguments.repeats} repeats: "
        "medians, with the lowest and highest values in brackets.\n"
    )
    print(_table({"without cache": uncached, "cached": cached}))
    print(f"Critical path: {' → '.join(uncached[-1].path)}.\n")
    starts = [seconds for run in cached for task, seconds in run.durations.items() if task not in ("Begin", "Pusher")]
    print(f"- scheduling per level: {_range([run.per_level for run in uncached])} s; goal 1.5")
    print(f"- start of a node: {_range(starts)} s; goal 5")


def _run(airflow: AirflowClient, dag: str, downstream: Mapping[str, Sequence[str]], *, cache: bool) -> DagRun:
    run_id = airflow.trigger(dag, conf={"cache": cache})
    while (run := airflow.run(dag, run_id))["state"] not in ("success", "failed"):
        time.sleep(_POLL_S)
    if run["state"] == "failed":
        raise SystemExit(f"{airflow.url}/dags/{dag}/runs/{run_id} failed")
    tasks = airflow.tasks(dag, run_id)
    seconds = {name: float(task["duration"] or 0.0) for name, task in tasks.items()}
    path = critical_path(downstream, seconds)
    wall = (_time(run["end_date"]) - _time(run["start_date"])).total_seconds()
    return DagRun(wall, path, sum(seconds[name] for name in path), seconds)


def critical_path(downstream: Mapping[str, Sequence[str]], seconds: Mapping[str, float]) -> tuple[str, ...]:
    """Return the chain of tasks with the largest sum of durations."""
    best: dict[str, tuple[float, tuple[str, ...]]] = {}
    for name in graphlib.TopologicalSorter(downstream).static_order():  # downstream tasks come first
        later = max((best[after] for after in downstream[name]), default=(0.0, ()))
        best[name] = (seconds.get(name, 0.0) + later[0], (name, *later[1]))
    return max(best.values())[1]


def _time(text: Any) -> datetime:
    return datetime.fromisoformat(str(text).replace("Z", "+00:00"))


def _table(runs: Mapping[str, Sequence[DagRun]]) -> str:
    lines = ["| run | wall (s) | critical path (s) | tasks on it | overhead per task (s) |", "|---|---|---|---|---|"]
    for name, repeats in runs.items():
        figures = [(run.wall, run.busy, float(len(run.path)), run.per_level) for run in repeats]
        lines.append(f"| {name} | {' | '.join(map(_range, zip(*figures, strict=True)))} |")
    return "\n".join(lines) + "\n"


def _range(values: Iterable[float]) -> str:
    ordered = sorted(values)
    return f"{statistics.median(ordered):.4g} ({ordered[0]:.4g}-{ordered[-1]:.4g})"


if __name__ == "__main__":
    main()
