"""Draw how good scores are: ROC, precision and recall, calibration, confusion, costs, and residuals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benison.pipelines.drawings import theme
from benison.pipelines.drawings.drawing import Cell, Chart, Part, Table
from benison.pipelines.drawings.marks import color_by, model_lines, names, quantity
from benison.pipelines.drawings.numbers import count, percent, short
from benison.pipelines.facts import curves
from benison.pipelines.facts.blessing import ENSEMBLE
from benison.pipelines.facts.scores import Scores

_SHARE = {"scale": {"domain": [0, 1]}, "axis": {"format": "%", "tickCount": 5}}
_MOST_CLASSES = 24


def of_scores(
    scores: Scores,
    models: Sequence[str],
    *,
    positive: str = "",
    threshold: float | None = None,
    costs: Mapping[str, float] | None = None,
    label: str = "label",
) -> list[Part]:
    """Draw all curves of a problem.

    Args:
        scores: outputs on `test`.
        models: all models of the run, for their colours; models without scores are left out.
        positive: the positive class of a binary problem.
        threshold: lowest probability that decides for it; None if the most likely class is the decision.
        costs: `false_negative` and `false_positive`; None if they are unknown.
        label: name of the label.
    """
    if not scores.classes:
        return regression(scores, models, label)
    if len(scores.classes) == 2:
        return binary(scores, models, positive or scores.classes[1], threshold, costs)
    return multiclass(scores, models)


def binary(
    scores: Scores, models: Sequence[str], positive: str, threshold: float | None, costs: Mapping[str, float] | None
) -> list[Part]:
    """Draw ROC, precision and recall, calibration, the confusion matrix, and costs by threshold."""
    hits = scores.labels == 1
    outputs = {m: scores.outputs[m][:, 1] for m in models if m in scores.outputs}
    colors = theme.model_colors(models)
    of_model = {m: curves.roc(hits, p, scores.weights) for m, p in outputs.items()}
    recall = {m: curves.precision_recall(hits, p, scores.weights) for m, p in outputs.items()}
    rate = float(np.average(hits, weights=scores.weights))
    parts: list[Part] = [
        roc(of_model, colors, f"class {positive}"),
        precision_recall(recall, colors, rate, f"class {positive}"),
        calibration(
            {m: curves.calibration(hits, p, scores.weights) for m, p in outputs.items()}, colors, f"class {positive}"
        ),
    ]
    why = ""
    if ENSEMBLE in outputs and costs:
        curve = curves.costs(hits, outputs[ENSEMBLE], costs["false_negative"], costs["false_positive"], scores.weights)
        parts.append(cost_by_threshold(curve, threshold, costs))
        why = f", which costs least if the probabilities are exact; on test, {curve.best:.3g} costs least"
    if ENSEMBLE in outputs:
        decided = curves.decisions(scores.outputs[ENSEMBLE], threshold)
        matrix = curves.confusion(scores.labels, decided, 2, scores.weights)
        limit = "the most likely class" if threshold is None else f"from a probability of {threshold:.3g} on"
        parts.append(confusion(matrix, scores.classes, f"Decision: {limit}{why}."))
    return parts


def multiclass(scores: Scores, models: Sequence[str]) -> list[Part]:
    """Draw the confusion matrix, calibration of the most likely class, and the ensemble's ROC of each class."""
    outputs = {m: scores.outputs[m] for m in models if m in scores.outputs}
    parts: list[Part] = []
    best = scores.outputs.get(ENSEMBLE)
    if best is not None:
        matrix = curves.confusion(scores.labels, best.argmax(axis=1), len(scores.classes), scores.weights)
        parts.append(
            confusion(matrix, scores.classes)
            if len(scores.classes) <= _MOST_CLASSES
            else confused_classes(matrix, scores.classes)
        )
    bins = {
        m: curves.calibration(p.argmax(axis=1) == scores.labels, p.max(axis=1), scores.weights)
        for m, p in outputs.items()
    }
    parts.append(calibration(bins, theme.model_colors(models), "the most likely class"))
    if best is not None:
        classes = np.argsort(-np.bincount(scores.labels, minlength=len(scores.classes)), kind="stable")[:8]
        of_class = {
            scores.classes[c]: curves.roc(scores.labels == c, best[:, c], scores.weights) for c in sorted(classes)
        }
        colors = {name: f"var(--series-{number % 8})" for number, name in enumerate(of_class)}
        note = f"The {len(of_class)} classes with the most rows." if len(of_class) < len(scores.classes) else ""
        parts.append(replace(roc(of_class, colors, "one class against all others, ensemble"), note=note))
    return parts


def regression(scores: Scores, models: Sequence[str], label: str) -> list[Part]:
    """Draw predictions against the label, and the residuals of all models."""
    labels = scores.labels
    outputs = {m: scores.outputs[m][:, 0].astype(np.float64) for m in models if m in scores.outputs}
    parts: list[Part] = []
    if ENSEMBLE in outputs:
        grid = curves.predicted_against_label(labels, outputs[ENSEMBLE])
        if grid is not None:
            parts.append(predicted(grid, label))
    ends = curves.residual_ends(labels, list(outputs.values()))
    histograms = {m: curves.residuals(labels, p, ends) for m, p in outputs.items()}
    return [*parts, residuals(histograms, theme.model_colors(models), label)]


def roc(of: Mapping[str, curves.Points], colors: Mapping[str, str], subject: str) -> Chart:
    """Draw receiver operating characteristics.

    Args:
        of: points by model or class; those without points are left out.
        colors: by model or class.
        subject: the positive class.
    """
    diagonal = _diagonal()
    lines = model_lines(
        _rows(of),
        quantity("x", "false positive rate", **_SHARE),
        quantity("y", "true positive rate", **_SHARE),
        {name: colors[name] for name in of},
    )
    text = "; ".join(f"{name}: area {_area(points):.3f}" for name, points in of.items() if points)
    return Chart(f"ROC, {subject}", text, {"layer": [diagonal, lines]}, small=True, height=260)


def precision_recall(of: Mapping[str, curves.Points], colors: Mapping[str, str], rate: float, subject: str) -> Chart:
    """Draw precision by recall; the dashed line is the share of the positive class."""
    base = {
        "data": {"values": [{"y": rate}]},
        "mark": {"type": "rule", "color": theme.MUTED, "strokeDash": [3, 3]},
        "encoding": {"y": quantity("y", "precision", **_SHARE)},
    }
    lines = model_lines(
        _rows(of),
        quantity("x", "recall", **_SHARE),
        quantity("y", "precision", **_SHARE),
        {name: colors[name] for name in of},
    )
    text = f"{percent(rate)} of the rows are positive. " + "; ".join(
        f"{name}: precision {points[len(points) // 2][1]:.2f} at recall {points[len(points) // 2][0]:.2f}"
        for name, points in of.items()
        if points
    )
    return Chart(f"Precision and recall, {subject}", text, {"layer": [base, lines]}, small=True, height=260)


def calibration(of: Mapping[str, Sequence[curves.CalibrationBin]], colors: Mapping[str, str], subject: str) -> Chart:
    """Draw observed frequencies by probability; on the diagonal both are equal. Bars: the ensemble's intervals."""
    points = {name: [(b.predicted, b.observed) for b in bins] for name, bins in of.items()}
    intervals = [{"x": b.predicted, "low": b.low, "high": b.high, "rows": b.rows} for b in of.get(ENSEMBLE, [])]
    lines = model_lines(
        _rows(points),
        quantity("x", "probability", **_SHARE),
        quantity("y", "observed frequency", **_SHARE),
        {name: colors[name] for name in of},
    )
    lines["mark"] = {"type": "line", "point": {"size": 30}}
    bars = {
        "data": {"values": intervals},
        "mark": {"type": "rule", "color": colors.get(ENSEMBLE, theme.MUTED), "opacity": 0.45, "strokeWidth": 4},
        "encoding": {
            "x": quantity("x", "probability", **_SHARE),
            "y": quantity("low", "observed frequency", **_SHARE),
            "y2": {"field": "high"},
            "tooltip": [
                {"field": "x", "format": ".3f", "title": "probability"},
                {"field": "low", "format": ".3f"},
                {"field": "high", "format": ".3f"},
                {"field": "rows"},
            ],
        },
    }
    text = "; ".join(
        f"at probability {b.predicted:.2f} observed {b.observed:.2f} ({count(b.rows)} rows)"
        for b in of.get(ENSEMBLE, [])
    )
    return Chart(f"Calibration, {subject}", text, {"layer": [_diagonal(), bars, lines]}, small=True, height=260)


def cost_by_threshold(curve: curves.CostCurve, used: float | None, costs: Mapping[str, float]) -> Chart:
    """Draw the mean cost per row by threshold, with the threshold in use and the cheapest one on these rows."""
    marks = [{"x": curve.best, "what": "cheapest on test"}]
    if used is not None:
        marks.append({"x": used, "what": "in use"})
    colors = {"in use": theme.ACCENT, "cheapest on test": theme.MUTED}
    spec = {
        "layer": [
            {
                "data": {"values": [{"x": x, "y": y} for x, y in curve.points]},
                "mark": {"type": "line", "color": "var(--ensemble)"},
                "encoding": {
                    "x": quantity("x", "threshold (probability)", **_SHARE),
                    "y": quantity("y", "mean cost per row, ensemble"),
                },
            },
            {
                "data": {"values": marks},
                "mark": {"type": "rule", "strokeWidth": 1.5, "strokeDash": [4, 3]},
                "encoding": {"x": quantity("x", "threshold (probability)"), "color": color_by("what", colors)},
            },
        ]
    }
    text = f"The cheapest threshold on test is {curve.best:.2f}."
    if used is not None:
        text += f" The threshold in use is {used:.3g}."
    note = f"A false negative costs {costs['false_negative']:g}, a false positive {costs['false_positive']:g}."
    return Chart("Cost by threshold", text, spec, note=note, small=True, height=260)


def confusion(matrix: Any, classes: Sequence[str], note: str = "") -> Chart:
    """Draw the decisions of the ensemble by label; the shade is the share of the label's rows."""
    total = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, total, out=np.zeros_like(matrix), where=total > 0)
    rows = [
        {
            "label": classes[i],
            "decision": classes[j],
            "rows": round(float(matrix[i, j]), 2),
            "text": count(matrix[i, j]),
            "share": round(float(shares[i, j]), 5),
            "right": i == j,
        }
        for i in range(len(classes))
        for j in range(len(classes))
    ]
    wrong = sorted((r for r in rows if not r["right"] and r["rows"]), key=lambda r: -r["rows"])[:3]  # type: ignore[operator]
    mistakes = "; ".join(f"{count(r['rows'])} rows of {r['label']} decided as {r['decision']}" for r in wrong)  # type: ignore[arg-type]
    text = mistakes or "Every row is decided as its label says."
    spec = {
        "data": {"values": rows},
        "encoding": {
            "x": {**names("decision", classes, "decision"), "axis": {"labelAngle": -30 if len(classes) > 3 else 0}},
            "y": names("label", classes, "label"),
            "tooltip": [
                {"field": "label"},
                {"field": "decision"},
                {"field": "rows"},
                {"field": "share", "format": ".1%", "title": "of the label's rows"},
            ],
        },
        "layer": [
            {
                "mark": {"type": "rect", "cornerRadius": 3},
                "encoding": {
                    "color": color_by("right", {True: theme.GOOD, False: theme.BAD}, legend=False),  # type: ignore[dict-item]
                    "opacity": {
                        "field": "share",
                        "type": "quantitative",
                        "scale": {"domain": [0, 1], "range": [0.04, 0.55]},
                        "legend": None,
                    },
                },
            },
            {
                "transform": [{"filter": "datum.rows > 0"}],
                "mark": {"type": "text"},
                "encoding": {"text": {"field": "text"}},
            },
        ],
    }
    step = 46 if len(classes) <= 4 else 30
    return Chart("Confusion matrix, ensemble on test", text, spec, note=note, height=step * len(classes), small=True)


def confused_classes(matrix: Any, classes: Sequence[str]) -> Table:
    """Draw the pairs of classes that are confused most, where a matrix would be too large."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None)[:50]
    pairs = [(int(k) // len(classes), int(k) % len(classes)) for k in order if wrong.flat[k] > 0]
    rows = [
        [
            classes[i],
            classes[j],
            Cell(count(wrong[i, j]), wrong[i, j]),
            Cell(percent(wrong[i, j] / matrix[i].sum()), wrong[i, j] / matrix[i].sum()),
        ]
        for i, j in pairs
    ]
    return Table("Classes that the ensemble confuses most", ["label", "decision", "rows", "of the label's rows"], rows)


def predicted(grid: curves.Grid, label: str) -> Chart:
    """Draw the ensemble's predictions by label, as a grid of counts."""
    rows = [{"x": a, "x2": b, "y": c, "y2": d, "rows": n} for a, b, c, d, n in grid.cells]
    domain = {"scale": {"domain": list(grid.ends), "nice": False}}
    spec = {
        "layer": [
            {
                "data": {"values": rows},
                "mark": {"type": "rect", "color": "var(--ensemble)"},
                "encoding": {
                    "x": quantity("x", f"{label}", **domain),
                    "x2": {"field": "x2"},
                    "y": quantity("y", "prediction", **domain),
                    "y2": {"field": "y2"},
                    "opacity": {
                        "field": "rows",
                        "type": "quantitative",
                        "scale": {"type": "log", "range": [0.18, 1]},
                        "legend": None,
                    },
                    "tooltip": [
                        {"field": "x", "title": "label", "format": ".4~g"},
                        {"field": "y", "title": "prediction", "format": ".4~g"},
                        {"field": "rows"},
                    ],
                },
            },
            {
                "data": {"values": [{"x": end, "y": end} for end in grid.ends]},
                "mark": {"type": "line", "color": theme.MUTED, "strokeDash": [3, 3], "strokeWidth": 1},
                "encoding": {"x": quantity("x", f"{label}", **domain), "y": quantity("y", "prediction", **domain)},
            },
        ]
    }
    note = f"{count(grid.outside)} rows are outside of the picture." if grid.outside else ""
    text = f"Both run from {short(grid.ends[0])} to {short(grid.ends[1])}; on the diagonal they are equal."
    return Chart("Predictions against the label, ensemble on test", text, spec, note=note, small=True, height=300)


def residuals(of: Mapping[str, curves.Histogram], colors: Mapping[str, str], label: str) -> Chart:
    """Draw the distribution of the residuals of each model."""
    rows = [
        {"model": model, "x": (low + high) / 2, "y": share, "at": number}
        for model, histogram in of.items()
        for number, (low, high, share) in enumerate(histogram.bins)
    ]
    lines = model_lines(
        rows,
        quantity("x", f"residual: {label} less prediction"),
        quantity("y", "share of the rows", axis={"format": "%", "tickCount": 5}),
        {name: colors[name] for name in of},
    )
    lines["mark"] = {"type": "line", "interpolate": "step"}
    ends = next(iter(of.values())).bins if of else []
    text = f"Residuals from {short(ends[0][0])} to {short(ends[-1][1])}." if ends else ""
    note = "Residuals beyond the ends count at the ends."
    return Chart("Residuals on test", text, lines, note=note, small=True, height=300)


def _diagonal() -> dict[str, Any]:
    return {
        "data": {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]},
        "mark": {"type": "line", "color": theme.MUTED, "strokeDash": [3, 3], "strokeWidth": 1},
        "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
    }


def _rows(of: Mapping[str, Sequence[tuple[float, float]]]) -> list[dict[str, Any]]:
    return [
        {"model": name, "x": x, "y": y, "at": number}
        for name, points in of.items()
        for number, (x, y) in enumerate(points)
    ]


def _area(points: Sequence[tuple[float, float]]) -> float:
    x, y = np.array(points).T
    return float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum())
