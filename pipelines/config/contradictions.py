"""Find contradictions between keys of a config that are each valid alone.

These checks read the unchecked config. Pydantic runs checks across fields only after every field is valid, and the user
must see all mistakes at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any

from pydantic import BaseModel
from pydantic_core import InitErrorDetails, PydanticCustomError

from benison.components.evaluate.metrics import COST, F1, METRICS, PROBLEMS, RECALL
from benison.components.ingest.data_files import SPAN
from benison.components.train.foreign.settings import FOREIGN_KINDS
from benison.components.train.linear import settings as linear
from benison.components.train.trees import settings as trees
from benison.pipelines.config import foreign_models
from benison.pipelines.config.limits import beyond_limits
from benison.pipelines.config.sections import Member
from benison.pipelines.config.types import is_number
from benison.serving.close_names import did_you_mean
from benison.serving.ensemble.combiners import CLASSIFIERS_ONLY

WITHHELD: tuple[tuple[str, ...], ...] = (("splits", "by"), ("weight",))  # keys of columns that are no features
_OF_TRAINING = ("function", "epochs", "batch_size", "patience", "imbalance", "hyperparameters", "tuner", "trainer")
_DEFAULTS = {
    key: default.model_dump() if isinstance(default := Member.model_fields[key].default, BaseModel) else default
    for key in _OF_TRAINING
}
# The kinds of members that Benison fits itself: their verb, their hyperparameters, and Benison's own function.
_WITHOUT_EPOCHS = {
    "linear": (linear.PARAMETERS.owner, linear.PARAMETERS, linear.FUNCTION),
    "trees": (trees.PARAMETERS.owner, trees.PARAMETERS, trees.FUNCTION),
}
WEIGHTED = ("weighted_mean", "majority_vote", "soft_vote")


def value_at(raw: Any, *keys: str) -> Any:
    """Return the value at a key path of an unchecked config; None if there is none."""
    for key in keys:
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw


def contradictions(raw: Any) -> Iterator[InitErrorDetails]:
    """Yield the contradictions in a config that may itself be wrong in any way, and values beyond all limits."""
    yield from _metrics(raw)
    yield from _data(raw)
    yield from _schedule(raw)
    yield from _slices(raw)
    yield from _columns(raw)
    yield from _withheld(raw)
    yield from _combination(value_at(raw, "ensemble"), value_at(raw, "problem"))
    yield from _members(raw)
    for loc, message, value in beyond_limits(raw):
        yield _refused(loc, message, value)


def _metrics(raw: Any) -> Iterator[InitErrorDetails]:
    """Check that metrics and costs fit the problem."""
    problem, cost, own = value_at(raw, "problem"), value_at(raw, COST), _own_metrics(raw)
    metrics: list[tuple[tuple[str | int, ...], Any]] = [(("metric",), value_at(raw, "metric"))]
    metrics += [(("blessing", "rules", i, "metric"), value_at(rule, "metric")) for i, rule in enumerate(_rules(raw))]
    for loc, metric in metrics:
        if isinstance(metric, str) and (message := _metric_mistake(metric, problem, [name for name, _ in own])):
            yield _refused(loc, message, metric)
        elif metric == COST and cost is None:
            yield _refused(loc, "needs the top-level key cost, such as {false_negative: 10, false_positive: 1}", metric)
    if value_at(raw, "metric") == RECALL and problem == "binary":
        message = f"got {RECALL}, which an answer that is always positive has in full; expected {F1}, or a rule on it"
        yield _refused(("metric",), message, RECALL)
    for i, rule in enumerate(_rules(raw)):
        yield from _bounds(("blessing", "rules", i), rule)
        yield from _own_direction(("blessing", "rules", i), rule, dict(own))
    for i, (name, _) in enumerate(own):
        if name in METRICS:
            yield _refused(("metrics", i, "name"), f"Benison has a metric {name!r}; choose another name", name)
        elif name in [earlier for earlier, _ in own[:i]]:
            yield _refused(("metrics", i, "name"), f"another metric is named {name!r}", name)
    if cost is not None and problem in PROBLEMS - {"binary"}:
        yield _refused((COST,), f"got costs for a {problem} problem; only binary problems have costs", cost)
    if (positive := value_at(raw, "positive")) is not None and problem in PROBLEMS - {"binary"}:
        message = f"got a positive class for a {problem} problem; only binary problems have one"
        yield _refused(("positive",), message, positive)
    if value_at(raw, "interval") is not None and problem in PROBLEMS - {"regression"}:
        message = f"got an interval for a {problem} problem; only the answers of a regression have one"
        yield _refused(("interval",), message, value_at(raw, "interval"))
    if value_at(raw, "target") == "auto" and problem in PROBLEMS - {"regression"}:
        yield _refused(
            ("target",), f"got auto for a {problem} problem; only the label of a regression has a scale", "auto"
        )
    if (threshold := value_at(raw, "threshold")) is not None:
        if problem in PROBLEMS - {"binary"}:
            message = f"got a threshold for a {problem} problem; only binary problems have one"
            yield _refused(("threshold",), message, threshold)
        elif cost is not None:
            message = "the key cost gives a threshold too, at the lowest expected cost; keep one of the two"
            yield _refused(("threshold",), message, threshold)


def _own_metrics(raw: Any) -> list[tuple[str, Any]]:
    """Return name and `larger_is_better` of each metric of the user's own, as far as they can be read."""
    metrics = value_at(raw, "metrics")
    return [
        (str(value_at(metric, "name")), value_at(metric, "larger_is_better"))
        for metric in (metrics if isinstance(metrics, (list, tuple)) else ())
    ]


def _own_direction(loc: tuple[str | int, ...], rule: Any, own: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    """Check that a rule bounds a metric of the user's own on its bad side; `RuleConfig` knows only Benison's."""
    name = str(value_at(rule, "metric"))
    if name not in own:
        return
    wrong, right = ("min", "max") if own[name] is False else ("max", "min")
    if value_at(rule, wrong) is not None:
        better = "lower" if own[name] is False else "higher"
        yield _refused(loc, f"got {wrong}, expected {right}: {better} is better in {name}", rule)


def _bounds(loc: tuple[str | int, ...], rule: Any) -> Iterator[InitErrorDetails]:
    """Check that a rule's bounds are values that its metric can have; otherwise it always or never holds."""
    metric = METRICS.get(name) if isinstance(name := value_at(rule, "metric"), str) else None
    if metric is None:
        return
    lowest, highest = metric.ends
    span = f"{lowest:g} to {highest:g}" if lowest > -inf else f"{highest:g} or less"
    span = f"{lowest:g} or more" if highest == inf else span
    for key in ("min", "max"):
        bound = value_at(rule, key)
        if is_number(bound) and not lowest <= bound <= highest:
            yield _refused((*loc, key), f"got {bound}, but {metric.name} is {span}", bound)
    by = value_at(rule, "by")
    if is_number(by) and by >= highest - lowest:
        yield _refused((*loc, "by"), f"got {by}, but {metric.name} is {span}, so the rule would always hold", by)


def _data(raw: Any) -> Iterator[InitErrorDetails]:
    """Check that there is one kind of file, and a time column for spans."""
    data = value_at(raw, "data")
    if not isinstance(data, Mapping):
        return
    files = [key for key in ("csv", "tfrecord") if data.get(key) is not None]
    spans = value_at(raw, "spans") is not None
    if spans and not data.get("time"):
        yield _refused(("data",), "a pipeline with spans needs data.time, the column to order its rows by", data)
    if spans and "csv" in files and SPAN not in str(data["csv"]):
        message = f"the spans are added by `benison span add`; expected no csv, or one with {SPAN} for the number"
        yield _refused(("data", "csv"), message, data)
    if spans and "tfrecord" in files:
        yield _refused(("data", "tfrecord"), "a pipeline with spans reads CSV; expected csv, or no spans", data)
    if data.get("time_format") is not None and not data.get("time"):
        yield _refused(("data", "time_format"), "needs data.time, the column that has this format", data)
    if len(files) != 1 and not (spans and not files):
        yield _refused(("data",), f"got {' and '.join(files) or 'neither'}, expected one of csv and tfrecord", data)


def _schedule(raw: Any) -> Iterator[InitErrorDetails]:
    """Check that a schedule can turn dates into spans."""
    schedule, spans = value_at(raw, "schedule"), value_at(raw, "spans")
    if schedule is not None and isinstance(spans, Mapping) and not value_at(spans, "first"):
        message = "a schedule with spans also needs spans.first and spans.every, which turn a date into a span"
        yield _refused(("schedule",), message, schedule)


def _slices(raw: Any) -> Iterator[InitErrorDetails]:
    """Check that slices are features, and that those of rules are computed."""
    label, slices = value_at(raw, "label"), value_at(raw, "slices")
    for i, rule in enumerate(_rules(raw)):
        for column in value_at(rule, "slices") or ():
            if column not in (slices or ()):
                hint = did_you_mean(str(column), slices or ())
                message = f"got {column!r}, expected a column of the top-level key slices{hint}"
                yield _refused(("blessing", "rules", i, "slices"), message, column)
    for i, column in enumerate(slices if isinstance(slices, (list, tuple)) else ()):
        if isinstance(column, str) and column == label:
            yield _refused(("slices", i), f"got {column!r}, which is the label; expected a feature", column)


def _columns(raw: Any) -> Iterator[InitErrorDetails]:
    """Check that the columns hold a feature, and not the label."""
    label, columns = value_at(raw, "label"), value_at(raw, "columns")
    if not isinstance(columns, Mapping):
        return
    if isinstance(label, str) and label in columns:
        yield _refused(("columns", label), "this is the label; remove it from columns", columns[label])
    if columns and all("ignore" in (column, value_at(column, "kind")) for column in columns.values()):
        yield _refused(("columns",), "expected at least one column that is not ignored", columns)


def _withheld(raw: Any) -> Iterator[InitErrorDetails]:
    """Check that a column with a role of its own is neither the label nor a feature."""
    label, columns = value_at(raw, "label"), value_at(raw, "columns")
    for loc in WITHHELD:
        column = value_at(raw, *loc)
        if not isinstance(column, str):
            continue
        key = ".".join(loc)
        if column == label:
            yield _refused(loc, f"got {column!r}, which is the label; expected another column", column)
        if loc == ("weight",) and column == value_at(raw, "splits", "by"):
            yield _refused(loc, f"got {column!r}, which splits.by names too; expected another column", column)
        kind = value_at(columns, column)
        if kind is not None and "ignore" not in (kind, value_at(kind, "kind")):
            message = f"{key} names this column, so it is no feature; expected ignore"
            yield _refused(("columns", column), message, kind)


def _members(raw: Any) -> Iterator[InitErrorDetails]:
    """Check each member's settings against the problem and against each other."""
    problem, members = value_at(raw, "problem"), value_at(raw, "ensemble", "members")
    for name in members if isinstance(members, Mapping) else ():
        fixed, space = value_at(members, name, "hyperparameters"), value_at(members, name, "tuner", "space")
        imbalance = value_at(members, name, "imbalance")
        if problem == "regression" and imbalance not in (None, "none"):
            message = f"got {imbalance!r}, but a regression problem has no classes"
            yield _refused(("ensemble", "members", name, "imbalance"), message, imbalance)
        yield from _searched_and_fixed(name, fixed, space)
        yield from _search(("ensemble", "members", name, "tuner"), value_at(members, name, "tuner"))
        if isinstance(member := value_at(members, name), Mapping):
            for keys, message, value in foreign_models.member_faults(member, problem):
                yield _refused(("ensemble", "members", name, *keys), message, value)
        if value_at(members, name, "kind") in FOREIGN_KINDS:
            yield from _of_training(("ensemble", "members", name), value_at(members, name))
            continue
        if (kind := value_at(members, name, "kind")) in ("linear", "trees"):
            yield from _without_epochs(("ensemble", "members", name), value_at(members, name), str(kind))
            continue
        rate = value_at(fixed, "learning_rate")
        if rate is not None and not (is_number(rate) and 0 < rate < inf):
            key = ("ensemble", "members", name, "hyperparameters", "learning_rate")
            yield _refused(key, f"got {rate!r}, expected a number > 0", rate)
        rates = value_at(space, "learning_rate")
        least = [value_at(rates, "min")] if isinstance(rates, Mapping) else rates
        if isinstance(least, (list, tuple)) and (bad := [v for v in least if not (is_number(v) and 0 < v < inf)]):
            place = ("ensemble", "members", name, "tuner", "space", "learning_rate")
            yield _refused(place, f"got {bad[0]!r}, expected numbers > 0", rates)


def _of_training(loc: tuple[str | int, ...], member: Any) -> Iterator[InitErrorDetails]:
    """Check that a finished model has no settings of a training."""
    for key in _OF_TRAINING:
        if (value := value_at(member, key)) not in (None, _DEFAULTS[key]):
            shown = "a mapping" if isinstance(value, Mapping) else repr(value)
            yield _refused((*loc, key), f"got {shown}, but a finished model is not trained", value)


def _search(loc: tuple[str | int, ...], tuner: Any) -> Iterator[InitErrorDetails]:
    """Check that a tuner has something to search, and that its settings fit each other."""
    if not isinstance(tuner, Mapping):
        return
    own = value_at(tuner, "class") is not None
    if not own and not value_at(tuner, "space"):
        message = "expected at least one hyperparameter with its values, such as space: {units: [16, 32]}"
        yield _refused((*loc, "space"), message, value_at(tuner, "space"))
    if not own and (arguments := value_at(tuner, "arguments")):
        yield _refused((*loc, "arguments"), "these are the arguments of tuner.class, which is missing", arguments)
    if own and value_at(tuner, "algorithm") == "hyperband":
        message = "got 'hyperband', whose trials train for epochs that a class of your own does not know; expected "
        yield _refused((*loc, "algorithm"), f"{message}random, grid, bayesian", "hyperband")
    profile = value_at(tuner, "profile")
    if (
        isinstance(profile, (list, tuple))
        and len(profile) == 2
        and all(map(is_number, profile))
        and profile[0] > profile[1]
    ):
        yield _refused((*loc, "profile"), f"got {list(profile)}, expected the first batch and a later one", profile)
    sizes = value_at(tuner, "space", "batch_size")
    ends = [value_at(sizes, "min"), value_at(sizes, "max")] if isinstance(sizes, Mapping) else sizes
    if isinstance(ends, (list, tuple)) and (bad := [v for v in ends if not isinstance(v, int) or v < 1]):
        yield _refused(
            (*loc, "space", "batch_size"), f"got {bad[0]!r}, expected numbers of rows, such as [16, 32]", sizes
        )


def _searched_and_fixed(name: str, fixed: Any, space: Any) -> Iterator[InitErrorDetails]:
    """Check that no hyperparameter is both searched and fixed."""
    both = sorted(set(fixed) & set(space)) if isinstance(fixed, Mapping) and isinstance(space, Mapping) else []
    for parameter in both:
        loc = ("ensemble", "members", name, "tuner", "space", parameter)
        other = f"ensemble.members.{name}.hyperparameters.{parameter}"
        yield _refused(loc, f"{other} also fixes this value; keep one of the two", space[parameter])


def _without_epochs(loc: tuple[str | int, ...], member: Any, kind: str) -> Iterator[InitErrorDetails]:
    """Check the settings of a member of a kind that has no epochs."""
    verb, parameters, function = _WITHOUT_EPOCHS[kind]
    for key in ("epochs", "batch_size", *(("patience",) if kind == "linear" else ())):
        if (value := value_at(member, key)) not in (None, _DEFAULTS[key]):
            yield _refused((*loc, key), f"got {value!r}, but {verb} no {key}", value)
    if (value := value_at(member, "tuner", "epochs")) not in (None, _DEFAULTS["epochs"]):
        yield _refused((*loc, "tuner", "epochs"), f"got {value!r}, but {verb} no epochs", value)
    if (value := value_at(member, "tuner", "algorithm")) == "hyperband":
        message = f"got 'hyperband', which shortens trials by epochs, but {verb} none; expected random, grid, bayesian"
        yield _refused((*loc, "tuner", "algorithm"), message, value)
    if (value := value_at(member, "trainer", "distribute")) not in (None, 1):
        message = f"got {value!r}, but only a member of kind keras is trained in several processes"
        yield _refused((*loc, "trainer", "distribute"), message, value)
    for key in ("class", "profile"):
        if (value := value_at(member, "tuner", key)) is not None:
            yield _refused((*loc, "tuner", key), f"got {value!r}, but only a member of kind keras has one", value)
    if (value := value_at(member, "function")) not in (None, "", function):
        if kind == "linear":
            yield _refused((*loc, "function"), f"got {value!r}, but {verb} no function; expected kind: keras", value)
        return  # the user's function defines its own hyperparameters
    fixed = value_at(member, "hyperparameters")
    for parameter, fault in parameters.faults(fixed) if isinstance(fixed, Mapping) else ():
        yield _refused((*loc, "hyperparameters", parameter), fault, fixed[parameter])
    space = value_at(member, "tuner", "space")
    for parameter, fault in parameters.faults_of_space(space) if isinstance(space, Mapping) else ():
        yield _refused((*loc, "tuner", "space", parameter), fault, space[parameter])


def _combination(ensemble: Any, problem: Any) -> Iterator[InitErrorDetails]:
    """Check the combiner against its settings and the problem."""
    combiner, calibration, weights = (value_at(ensemble, key) for key in ("combiner", "calibration", "weights"))
    members, quorum = value_at(ensemble, "members"), value_at(ensemble, "quorum")
    for keys, message, value in foreign_models.fit_faults(ensemble):
        yield _refused(("ensemble", *keys), message, value)
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


def _rules(raw: Any) -> list[Any]:
    """Return the rules of the blessing; empty if they are not a list."""
    rules = value_at(raw, "blessing", "rules")
    return list(rules) if isinstance(rules, (list, tuple)) else []


def _metric_mistake(metric: str, problem: Any, own: Sequence[str]) -> str | None:
    """Return why a metric does not fit the problem, or None; if the problem is wrong, every known metric fits.

    Args:
        metric: its name.
        problem: the problem, unchecked.
        own: names of the user's own metrics.
    """
    known_problem = isinstance(problem, str) and problem in PROBLEMS
    fitting = [name for name, known in METRICS.items() if problem in known.problems] if known_problem else [*METRICS]
    fitting += own
    if metric in fitting:
        return None
    of_problem = f" for a {problem} problem" if known_problem else ""
    return f"got {metric!r}, expected one of {', '.join(fitting)}{of_problem}{did_you_mean(metric, fitting)}"


def _refused(loc: tuple[str | int, ...], message: str, value: Any) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError("refused", message), loc=loc, input=value)
