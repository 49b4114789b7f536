"""The verdict on a run in one sentence: how it ended, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benison.pipelines.drawings.numbers import figure
from benison.pipelines.facts.blessing import Blessing
from benison.pipelines.records import runs
from benison.pipelines.records.runs import Run


def sentence(run: Run, blessed: Blessing | None) -> tuple[str, str]:
    """Return how a run ended and why, in one sentence, and a class of the style sheet: good, warn, bad or ''."""
    pushed: Mapping[str, Any] = next((output["properties"] for output in run.outputs("PushedModel")), {})
    version = pushed.get("pushed_version", "")
    measured = run.measured() or {}
    value = measured.get("value")
    metric = f"{measured['name']} {figure(value)} on test" if value is not None else ""
    first_failure = next(iter(run.failed_nodes), None)
    if run.outcome in ("pushed", "already_served"):
        if "not_promoted" in pushed:
            return f"Pushed as version {version}, not promoted: {pushed['not_promoted']}", "warn"
        passed = "all rules passed" if blessed is None else _passed(blessed)
        action = "Blessed and pushed as" if run.outcome == "pushed" else "Blessed; already served as"
        same = f" Nothing had changed since run {run.repeats}." if run.repeats else ""
        return f"{action} version {version}: {', '.join(filter(None, [metric, passed]))}.{same}", "good"
    if run.outcome == "not_blessed":
        refused = [rule for rule in blessed.rules if rule.state == "refused"] if blessed else []
        reasons = "; ".join(f"{rule.name}: {rule.reason}" for rule in refused)
        too_few = bool(refused) and all(rule.too_few_rows for rule in refused)
        start = "Too few rows to judge, so not blessed" if too_few else "Not blessed"
        judge = next((node for node in run.nodes if node.state == "not_blessed"), None)
        if not reasons and judge is not None:
            start, reasons = f"{start}, by {judge.id}", judge.reason
        return f"{start}: {reasons}. The served version stays.", "warn"
    if run.outcome == "not_pushed":
        reason = next((node.reason for node in run.nodes if node.state == "not_pushed"), "")
        return f"Blessed, not pushed: {reason}. The served version stays.", "warn"
    if run.outcome == "invalid" and first_failure is not None:
        return f"The data is invalid, by {first_failure.id}: {first_failure.reason}", "bad"
    if run.outcome == "failed":
        if first_failure is None:
            return "Failed before the first node; the logs are in the folder of the run.", "bad"
        return f"Failed at {first_failure.id}: {first_failure.reason}", "bad"
    if run.outcome == "interrupted":
        ended = sum(node.state in runs.ENDED for node in run.nodes)
        return (
            f"Interrupted after {ended} of {len(run.nodes)} nodes. Finished nodes are cached; run the same command to "
            "continue.",
            "warn",
        )
    if run.outcome == "complete" and run.part:
        return f"Complete; a run with {run.options} pushes nothing. The served version stays.", "good"
    if run.outcome == "complete":
        return "Complete; this pipeline pushes nothing.", "good"
    return "The run is under way.", ""


def _passed(blessed: Blessing) -> str:
    warned = sum(rule.state == "warning" for rule in blessed.rules)
    passed = sum(rule.state == "passed" for rule in blessed.rules)
    if warned:
        return f"{passed} rules passed, {warned} {'warn' if warned > 1 else 'warns'}"
    return f"all {passed} rules passed"
