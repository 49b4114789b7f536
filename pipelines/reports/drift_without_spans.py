"""The drift of a run without spans: its data against what the served version learnt from, from the statistics of both.

The Baseline compares models and not data, and ingestion of a pipeline without spans does not know what is served. So
this is measured when the report is written, and stops no run.
"""

from __future__ import annotations

from pathlib import Path

from benison.pipelines.config import Drift as Limits
from benison.pipelines.facts import drift, statistics
from benison.pipelines.facts.blessing import Blessing
from benison.pipelines.facts.drift import Drift
from benison.pipelines.lineage import graph
from benison.pipelines.lineage.graph import RunGraph
from benison.pipelines.lineage.search import Finder, Lineage
from benison.pipelines.records.runs import Run
from benison.serving.errors import BenisonError
from benison.serving.promotion import labels


def measure(run: Run, root: Path, blessed: Blessing | None) -> Drift | None:
    """Return the drift of the data of a run.

    Args:
        run: the run; it has statistics.
        root: ROOT.
        blessed: the Blessing's record, which names the version that the run was compared with; None if it ended before.

    Returns:
        The drift; None if nothing was served before the run.
    """

    def not_measured(why: str) -> Drift:
        return Drift(None, version, why, (), None)

    version = None
    try:
        version = blessed.baseline.get("version") if blessed is not None else _served(run, root)
        if version is None:
            return None
        found = Finder(root).find(f"{run.pipeline}/{version}")
    except BenisonError as error:
        return not_measured(str(error).rstrip("."))
    own = graph.of_run(root, run)
    before = found.graph if isinstance(found, Lineage) else None
    earlier = _statistics(before)
    if before is None or earlier is None:
        return not_measured(f"the statistics of the data that version {version} learnt from no longer exist")
    if (data := _data(own)) and data == _data(before):
        return not_measured(f"the data is the same that version {version} learnt from")
    folder = _statistics(own)
    assert folder is not None
    columns = drift.between(statistics.read(earlier), statistics.read(folder), Limits().default)
    return Drift(None, version, "", columns, earlier)


def _served(run: Run, root: Path) -> int | None:
    """Return the served version, which is that of the time of the run unless the run pushed it."""
    base = root / "serving" / run.pipeline
    served = labels.served(base, damaged=True) if base.is_dir() else None
    return None if served is None or served.manifest.run == run.id else served.number


def _statistics(run: RunGraph | None) -> Path | None:
    found = [artifact.path for artifact in run.outputs("ExampleStatistics")] if run is not None else []
    return next((folder for folder in found if any(folder.glob(f"Split-*/{statistics.FILE}"))), None)


def _data(run: RunGraph) -> set[str]:
    return {artifact.files_hash for artifact in run.outputs("Examples") if artifact.files_hash}
