"""Events for trackers, as plain data: a run that has ended, and a label that has moved."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from benison.pipelines.config import AROUND_RUNS, Pipeline
from benison.pipelines.records.runs import Run
from benison.serving.promotion.history import Change
from benison.serving.versions import local

_NOT_IN_YAML = frozenset({"source", "serving"}) | AROUND_RUNS  # they may hold a secret
# Left out of the parameters: also what is no choice of the user, and what has an entry per column.
_NO_PARAMETERS = _NOT_IN_YAML | {"description", "columns"}
REPORT = "report.html"


def of_run(run: Run, config: Pipeline) -> dict[str, Any]:
    """Return the event of a run that has ended.

    Args:
        run: the run.
        config: its config, with the values of `--set`.
    """
    blessing, files = _blessing(run)
    if (report := run.folder / REPORT).is_file():
        files[REPORT] = str(report)
    pushed: Mapping[str, Any] = next((output["properties"] for output in run.outputs("PushedModel")), {})
    number = str(pushed.get("pushed_version") or "")
    return {
        "kind": "run",
        "id": run.id,
        "pipeline": run.pipeline,
        "experiment": config.tracking.experiment or config.name,
        "at": run.started + (run.seconds or 0.0),
        "started": run.started,
        "outcome": run.outcome,
        "params": dict(_flat(config.model_dump(mode="json", exclude=set(_NO_PARAMETERS)))),
        "metrics": {"seconds": run.seconds or 0.0, **_metrics(blessing)},
        "tags": {
            "benison.run": run.id,
            "benison.pipeline": run.pipeline,
            "benison.outcome": run.outcome,
            "benison.part": run.options,
            "benison.spans": ", ".join(map(str, run.window)),
            "benison.version": number,
            **{f"benison.set.{key}": value for key, value in run.sets.items()},
            **{f"verdict.{verdict['rule']}": _verdict(verdict) for verdict in blessing.get("verdicts", ())},
        },
        "files": files,
        "texts": {"pipeline.yaml": _yaml(config)},
        "version": _version(run.folder.parents[1] / "serving" / run.pipeline, number) if number else None,
        "label": "stable" if number and "not_promoted" not in pushed else None,
    }


def of_change(change: Change, base: Path, config: Pipeline) -> dict[str, Any]:
    """Return the event of a label that has moved.

    Args:
        change: the change.
        base: ROOT/serving/NAME.
        config: the pipeline's config.
    """
    return {
        "kind": "label",
        "id": f"{base.name}-{change.action}-{change.label}-{change.to}-{change.when}",
        "pipeline": base.name,
        "experiment": config.tracking.experiment or config.name,
        "at": datetime.now().timestamp(),  # `when` has whole seconds
        "action": change.action,
        "label": change.label,
        "version": None if change.to is None else _version(base, str(change.to)),
        "tags": {"who": change.who, "why": change.why, "when": change.when, "before": str(change.before or "")},
    }


def _version(base: Path, number: str) -> dict[str, str]:
    folder = base / number
    try:
        run = str(json.loads((folder / local.MANIFEST).read_text(encoding="utf-8")).get("run", ""))
    except (OSError, ValueError, AttributeError):  # gone or damaged
        run = ""
    return {"number": number, "path": str(folder), "run": run}


def _blessing(run: Run) -> tuple[dict[str, Any], dict[str, str]]:
    for output in run.outputs("ModelBlessing"):
        file = Path(output["uri"]) / "blessing.json"
        try:
            return dict(json.loads(file.read_text())), {file.name: str(file)}
        except (OSError, ValueError):  # TFX's Evaluator leaves its blessing empty
            continue
    return {}, {}


def _metrics(blessing: Mapping[str, Any]) -> dict[str, float]:
    """Return the defined metrics of ensemble, members and served version, by `MODEL/METRIC`."""
    return {
        f"{model}/{name}": float(value)
        for model, metrics in blessing.get("metrics", {}).items()
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }


def _verdict(verdict: Mapping[str, Any]) -> str:
    state = "passed" if verdict["passed"] else "warning" if verdict.get("warning") else "refused"
    return f"{state}: {verdict['reason']}"


def _yaml(config: Pipeline) -> str:
    import yaml

    data = config.model_dump(mode="json", exclude=set(_NOT_IN_YAML), exclude_unset=True, by_alias=True)
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested dicts by their dotted names, as text."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif value not in (None, {}, [], ""):
        yield name, value if isinstance(value, str) else json.dumps(value)
