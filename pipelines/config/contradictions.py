"""Find contradictions between keys of a config that are each valid alone.

These checks read the unchecked config. Pydantic runs checks across fields only after every field is valid, and the user
must see all mistakes at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import InitErrorDetails, PydanticCustomError

from benison.components.evaluate.metrics import COST, METRICS, PROBLEMS
from benison.serving.close_names import did_you_mean
from benison.serving.ensemble.combiners import CLASSIFIERS_ONLY

WEIGHTED = ("weighted_mean", "majority_vote", "soft_vote")


def value_at(given: Any, *keys: str) -> Any:
    """Return the value at a key path of an unchecked config; None if there is none."""
    for key in keys:
        given = given.get(key) if isinstance(given, Mapping) else None
    return given


def contradictions(given: Any) -> Iterator[InitErrorDetails]:
    """Yield the contradictions in a config that may itself be wrong in any way."""
    problem = value_at(given, "problem")
    rules = value_at(given, "blessing", "rules")
    metrics: list[tuple[tuple[str | int, ...], Any]] = [(("metric",), value_at(given, "metric"))]
    metrics += [
        (("blessing", "rules", i, "metric"), value_at(rule, "metric"))
        for i, rule in enumerate(rules if isinstance(rules, (list, tuple)) else ())
    ]
    for loc, metric in metrics:
        if isinstance(metric, str) and (message := _metric_mistake(metric, problem)):
            yield _refused(loc, message, metric)
        elif metric == COST and value_at(given, COST) is None:
            yield _refused(loc, "needs the top-level key cost, such as {false_negative: 10, false_positive: 1}", metric)
    if value_at(given, COST) is not None and problem in PROBLEMS - {"binary"}:
        yield _refused(
            (COST,), f"got costs for a {problem} problem; only binary problems have costs", value_at(given, COST)
        )

    data = value_at(given, "data")
    if isinstance(data, Mapping):
        files = [key for key in ("csv", "tfrecord") if data.get(key) is not None]
        spans = value_at(given, "spans") is not None
        if spans and not data.get("time"):
            yield _refused(("data",), "a pipeline with spans needs data.time, the column to order its rows by", data)
        if len(files) != 1 and not (spans and not files):
            yield _refused(("data",), f"got {' and '.join(files) or 'neither'}, expected one of csv and tfrecord", data)

    schedule, span_settings = value_at(given, "schedule"), value_at(given, "spans")
    if schedule is not None and isinstance(span_settings, Mapping) and not value_at(span_settings, "first"):
        message = "a schedule with spans also needs spans.first and spans.every, which turn a date into a span"
        yield _refused(("schedule",), message, schedule)

    label, slices = value_at(given, "label"), value_at(given, "slices")
    for i, rule in enumerate(rules if isinstance(rules, (list, tuple)) else ()):
        for column in value_at(rule, "slices") or ():
            if column not in (slices or ()):
                hint = did_you_mean(str(column), slices or ())
                message = f"got {column!r}, expected a column of the top-level key slices{hint}"
                yield _refused(("blessing", "rules", i, "slices"), message, column)
    for i, column in enumerate(slices if isinstance(slices, (list, tuple)) else ()):
        if isinstance(column, str) and column == label:
            yield _refused(("slices", i), f"got {column!r}, which is the label; expected a feature", column)

    columns = value_at(given, "columns")
    if isinstance(columns, Mapping) and isinstance(label, str) and label in columns:
        yield _refused(("columns", label), "this is the label; remove it from columns", columns[label])
    kinds = columns.values() if isinstance(columns, Mapping) else ()
    if kinds and all("ignore" in (kind, value_at(kind, "kind")) for kind in kinds):
        yield _refused(("columns",), "expected at least one column that is not ignored", columns)

    members = value_at(given, "ensemble", "members")
    yield from _combination(value_at(given, "ensemble"), problem)
    for name in members if isinstance(members, Mapping) else ():
        fixed, space = value_at(members, name, "hyperparameters"), value_at(members, name, "tuner", "space")
        imbalance = value_at(members, name, "imbalance")
        if problem == "regression" and imbalance not in (None, "none"):
            loc = ("ensemble", "members", name, "imbalance")
            yield _refused(loc, f"got {imbalance!r}, but a regression problem has no classes", imbalance)
        both = sorted(set(fixed) & set(space)) if isinstance(fixed, Mapping) and isinstance(space, Mapping) else []
        for key in both:
            loc = ("ensemble", "members", name, "tuner", "space", key)
            other = f"ensemble.members.{name}.hyperparameters.{key}"
            yield _refused(loc, f"{other} also fixes this value; keep one of the two", space[key])


def _combination(ensemble: Any, problem: Any) -> Iterator[InitErrorDetails]:
    """Yield the contradictions between the combiner, its settings and the problem."""
    combiner, calibration, weights = (value_at(ensemble, key) for key in ("combiner", "calibration", "weights"))
    members, quorum = value_at(ensemble, "members"), value_at(ensemble, "quorum")
    if problem == "regression" and combiner in CLASSIFIERS_ONLY:
        message = f"got {combiner}, but a regression problem has no classes to vote for"
        yield _refused(("ensemble", "combiner"), message, combiner)
    if problem == "regression" and calibration not in (None, "none"):
        message = f"got {calibration!r}, but a regression problem has no probabilities"
        yield _refused(("ensemble", "calibration"), message, calibration)
    if weights and combiner not in WEIGHTED:
        message = f"the combiner {combiner or 'mean'} takes no weights; expected {', '.join(WEIGHTED)}"
        yield _refused(("ensemble", "weights"), message, weights)
    if isinstance(weights, Mapping) and isinstance(members, Mapping):
        for name in sorted(str(name) for name in weights if name not in members):
            yield _refused(
                ("ensemble", "weights", name), f"no such member{did_you_mean(name, map(str, members))}", name
            )
        if weights and not any(value_at(weights, name) for name in members):
            yield _refused(("ensemble", "weights"), "expected a weight above 0 for at least one member", weights)
    if isinstance(members, Mapping) and isinstance(quorum, int) and quorum > len(members):
        message = f"got {quorum}, expected at most {len(members)}, the number of members"
        yield _refused(("ensemble", "quorum"), message, quorum)


def _metric_mistake(metric: str, problem: Any) -> str | None:
    """Return why a metric does not fit the problem, or None; if the problem is wrong, every known metric fits."""
    known_problem = isinstance(problem, str) and problem in PROBLEMS
    fitting = [name for name, known in METRICS.items() if problem in known.problems] if known_problem else [*METRICS]
    if metric in fitting:
        return None
    of_problem = f" for a {problem} problem" if known_problem else ""
    return f"got {metric!r}, expected one of {', '.join(fitting)}{of_problem}{did_you_mean(metric, fitting)}"


def _refused(loc: tuple[str | int, ...], message: str, given: Any) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError("refused", message), loc=loc, input=given)
