"""The user's own metrics: a function of labels and answers, named in the YAML under `metrics`.

    metrics:
      - {name: profit, function: metrics.py:profit, larger_is_better: true}

The function names what it takes among `ARGUMENTS`. It returns one number per row [rows], whose weighted mean is the
metric; or it takes `weights` too and returns one number. The bootstrap draws rows by their weights, so a function that
returned one number without them could not have an interval.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components import user_code, users_line
from benison.components.evaluate.metrics import (
    CLASSIFICATION,
    Costs,
    Decision,
    Floats,
    Metric,
    WeightedMetric,
    metric_for,
)
from benison.components.train.dry_run import Project, class_count, tried
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError, UsageError

WEIGHTS = "weights"
ARGUMENTS = ("labels", "predictions", "decisions", "classes", WEIGHTS)
_TRIED_ROWS = 40


@dataclass(frozen=True)
class OwnMetric:
    """A metric of the YAML.

    Attributes:
        name: its name in tables and rules.
        function: reference `/path/to/file.py:function` or `module:function`.
        larger_is_better: False for costs and errors.
    """

    name: str
    function: str
    larger_is_better: bool = True


def load(own: Sequence[OwnMetric], problem: str, decision: Decision, classes: Sequence[str] = ()) -> dict[str, Metric]:
    """Import the functions; return the metrics by name.

    Args:
        own: the metrics.
        problem: binary, multiclass or regression.
        decision: the decision that `decisions` are made by.
        classes: names of the classes by id; empty for regression.

    Raises:
        UsageError: a function does not exist, or takes another argument.
    """
    return {metric.name: _metric(metric, problem, decision, classes) for metric in own}


def metric_of(
    name: str,
    problem: str,
    classes: Sequence[str],
    threshold: float | None,
    costs: Mapping[str, float] | None,
    own: Sequence[OwnMetric],
) -> Metric:
    """Return a metric of a pipeline, its own or one of Benison's.

    Args:
        name: the metric.
        problem: binary, multiclass or regression.
        classes: names of the classes by id; empty for regression.
        threshold: the lowest probability that decides for class 1; None: the most likely class is the decision.
        costs: fields of `Costs`; None if they are unknown.
        own: the user's own metrics.

    Raises:
        UsageError: see `load`.
    """
    decision = Decision(threshold, Costs(**costs) if costs else None)
    return metric_for(name, problem, decision, load(own, problem, decision, classes))


def to_json(own: Sequence[OwnMetric], user_code: Mapping[str, Any]) -> str:
    """Return the `custom_config` of a node that computes own metrics.

    Args:
        own: the metrics.
        user_code: from `benison.pipelines.code.cache_key`, for the cache key.
    """
    return json.dumps({"metrics": [asdict(metric) for metric in own], **user_code}, sort_keys=True)


def parse(custom_config: str) -> list[OwnMetric]:
    """Return the metrics in the result of `to_json`."""
    return [OwnMetric(**fields) for fields in json.loads(custom_config)["metrics"]]


def mistakes(project: Project) -> list[str]:
    """Return the mistakes in the metrics of a project, one line each with its key in the YAML."""
    classes = class_count(project)
    return [
        f"{key}: {line}"
        for key, reference in project.metrics.items()
        for line in tried(reference, lambda function: _faults(function, project.problem, classes))
    ]


def _faults(function: str, problem: str, classes: int | None) -> list[str]:
    """Call a metric with made-up answers; return what is wrong with it, one line each.

    Args:
        function: see `OwnMetric`.
        problem: binary, multiclass or regression.
        classes: number of classes; None if it is unknown.

    Raises:
        UsageError: the function does not exist, or takes another argument.
    """
    random = np.random.default_rng(0)
    width = classes or 3
    if problem == "regression":
        labels, answers = random.normal(size=(2, _TRIED_ROWS, 1))
    else:
        labels, answers = np.arange(_TRIED_ROWS) % width, random.dirichlet(np.ones(width), _TRIED_ROWS)
    metric = _metric(OwnMetric("metric", function), problem, Decision(), [f"class {i}" for i in range(width)])
    try:
        values = metric.weighted(labels, answers)(np.stack([np.ones(_TRIED_ROWS), np.arange(_TRIED_ROWS) % 3]))
    except DataError as error:
        return [str(error)]
    return [] if np.isfinite(values[0]) else [f"returned {values[0]} for made-up answers, expected finite numbers"]


def _metric(own: OwnMetric, problem: str, decision: Decision, classes: Sequence[str]) -> Metric:
    function = user_code.load(own.function)
    wanted = _arguments(own.function, function, problem)
    takes_weights = WEIGHTS in wanted

    def prepare(y: NDArray, prediction: NDArray) -> WeightedMetric:
        known = _known(problem, decision, classes, y, prediction)
        chosen = {name: known[name] for name in wanted if name != WEIGHTS}
        if takes_weights:
            return lambda weights: np.array([_number(own, function, {**chosen, WEIGHTS: w}) for w in weights])
        of_rows = _per_row(own, function, chosen, len(y))

        def mean(weights: Floats) -> Floats:
            return weights @ of_rows / weights.sum(axis=1)

        return mean

    ends = (-math.inf, math.inf)
    return Metric(own.name, own.larger_is_better, frozenset({problem}), prepare, ends, simulated=not takes_weights)


def _arguments(reference: str, function: Callable[..., Any], problem: str) -> list[str]:
    """Return the names of the function's arguments.

    Raises:
        UsageError: one of them is unknown.
    """
    allowed = ARGUMENTS if problem in CLASSIFICATION else ("labels", "predictions", WEIGHTS)
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.default is p.empty or p.name in allowed]
    for name in names:
        if name not in allowed:
            raise UsageError(
                f"{users_line.short(reference)}: takes {name!r}, expected arguments among {', '.join(allowed)}"
                f"{did_you_mean(name, allowed)}"
            )
    return names


def _known(
    problem: str, decision: Decision, classes: Sequence[str], y: NDArray, prediction: NDArray
) -> Mapping[str, Any]:
    """Return the values of all arguments but the weights; the user gets copies, so that no metric changes another."""
    if problem not in CLASSIFICATION:
        return {"labels": y[:, 0].astype(np.float64), "predictions": prediction[:, 0].astype(np.float64)}
    answers = prediction[:, 1] if problem == "binary" else prediction
    return {
        "labels": np.array(y, np.int64),
        "predictions": np.array(answers, np.float64),
        "decisions": np.array(decision.classes(prediction), np.int64),
        "classes": list(classes),
    }


def _per_row(own: OwnMetric, function: Callable[..., Any], arguments: Mapping[str, Any], rows: int) -> Floats:
    values = _called(own, function, arguments)
    if values.shape != (rows,):
        got = "one number" if not values.ndim else f"shape {list(values.shape)}"
        raise DataError(
            f"{_place(own, function)}: returned {got} for {rows} rows, expected one number per row [{rows}]; or take "
            f"`{WEIGHTS}`, too, and return one number"
        )
    return values


def _number(own: OwnMetric, function: Callable[..., Any], arguments: Mapping[str, Any]) -> float:
    value = _called(own, function, arguments)
    if value.ndim:
        raise DataError(f"{_place(own, function)}: returned shape {list(value.shape)}, expected one number")
    return float(value)


def _called(own: OwnMetric, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Floats:
    try:
        return np.asarray(function(**arguments), np.float64)
    except Exception as error:
        place = users_line.place_of(error) or _place(own, function)
        raise DataError(f"{place}: the metric failed: {type(error).__name__}: {error}") from error


def _place(own: OwnMetric, function: Callable[..., Any]) -> str:
    return f"{users_line.short(own.function.rpartition(':')[0])}: {function.__name__}"
