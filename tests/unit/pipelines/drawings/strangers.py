"""Facts for tests: every kind, with names and values that strangers wrote."""

from __future__ import annotations

import numpy as np

from benison.pipelines.drawings import curves, data, models, serving, timeline, training
from benison.pipelines.drawings.drawing import Chart, Folded, Grid, Part
from benison.pipelines.facts.anomalies import Anomaly
from benison.pipelines.facts.blessing import Blessing, Rule, Slice
from benison.pipelines.facts.drift import ColumnDrift, Drift
from benison.pipelines.facts.ensemble import Contribution, EnsembleReport
from benison.pipelines.facts.importances import LabelAlone, Loss, Permutation
from benison.pipelines.facts.schema import SchemaColumn
from benison.pipelines.facts.scores import Scores
from benison.pipelines.facts.serving_trial import Check, Cost, Parity, ServingTrial
from benison.pipelines.facts.statistics import Column
from benison.pipelines.facts.timeline import Step
from benison.pipelines.facts.training import History, Search, Trial

EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\'"&\n\u202eevil\u2028\x1b'
HEBREW = "עמודה"
MODELS = ["one", EVIL, "ensemble", "served"]


def scores(problem: str, rows: int = 300) -> Scores:
    """Return scores of all models, of a problem with strange names of classes."""
    rng = np.random.default_rng(0)
    if problem == "regression":
        targets = rng.normal(size=rows)
        answers = {m: (targets + rng.normal(size=rows)).astype(np.float32)[:, None] for m in MODELS}
        return Scores(targets, answers, (), None, {})
    classes = ("no", EVIL) if problem == "binary" else ("a", EVIL, HEBREW)
    labels = rng.integers(0, len(classes), rows)
    outputs = {}
    for model in MODELS:
        odds = rng.random((rows, len(classes))) + np.eye(len(classes))[labels]
        outputs[model] = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    return Scores(labels, outputs, classes, rng.random(rows) + 0.5, {})


def blessing() -> Blessing:
    """Return a blessing with every kind of rule."""
    metrics = {m: {"auc": 0.8, "log_loss": None} for m in MODELS}
    gain = {"gain": 0.01, "low": -0.01, "high": 0.03}
    return Blessing(
        blessed=False,
        metric="auc",
        greater_is_better=True,
        rules=[
            Rule("not_worse_than_served", "auc", "refused", 0.8, 0.9, -0.1, -0.2, -0.05, f"worse than {EVIL}", False),
            Rule(f"auc by {EVIL}", "auc", "passed", 0.8, 0.7, None, None, None, "fine", False),
            Rule("log_loss <= 1", "log_loss", "warning", None, 1.0, None, None, None, "undefined", False),
        ],
        models=MODELS,
        metrics=metrics,
        gains={m: gain for m in MODELS if m != "ensemble"},
        without={"one": gain, EVIL: {"why_not": "it cannot"}},
        slices=[
            Slice(f"{EVIL}=x", 60, dict.fromkeys(MODELS, 0.7), metrics, {"served": gain}),
            Slice("b", 3, dict.fromkeys(MODELS), metrics, {}),
        ],
        classes=["no", EVIL],
        positive=EVIL,
        threshold=0.2,
        weight={"column": EVIL, "rows": 300, "effective_rows": 212.5},
        baseline={"version": 3},
        interval=None,
    )


def statistics(columns: int = 3) -> dict[str, dict[str, Column]]:
    """Return statistics of two splits with numbers, texts and bytes."""
    splits = {}
    for split, rows in (("train", 100), ("test", 40)):
        numbers = [f"{EVIL}{n}" if n % 2 else f"n{n}" for n in range(columns - 2)]
        found = {
            name: Column(
                name,
                "number",
                rows,
                3,
                1.0,
                0.5,
                0.0,
                1.0,
                2.0,
                4,
                bins=[(0.0, 1.0, rows / 2), (1.0, 2.0, rows / 2 - 3)],
            )
            for name in numbers
        }
        found[HEBREW] = Column(HEBREW, "text", rows, 0, unique=900, values=[(EVIL, rows / 2), ("b", rows / 4)])
        found["empty"] = Column("empty", "number", rows, rows)
        splits[split] = found
    return splits


def everything() -> list[Part]:
    """Return every drawing."""
    parts: list[Part] = []
    judged, report = blessing(), ensemble_report()
    parts += [*models.rules(judged), models.metrics(judged), models.metric_bars(judged), *models.slices(judged)]
    parts += [p for p in (models.gains(judged), models.correlations(report), models.dropped(report)) if p is not None]
    parts += models.contributions(report, judged)
    costs = {"false_negative": 5.0, "false_positive": 1.0}
    parts += curves.of_scores(scores("binary"), MODELS, positive=EVIL, threshold=0.2, costs=costs)
    parts += curves.of_scores(scores("multiclass"), MODELS)
    parts += curves.of_scores(scores("regression"), MODELS, label=EVIL)
    parts += [curves.confused_classes(np.array([[3.0, 1.0], [2.0, 4.0]]), ["a", EVIL])]
    columns = statistics()
    parts += [data.columns(columns), *data.distributions(columns, ["n0"], columns["test"])]
    drifted = [ColumnDrift(EVIL, 0.5, 0.1, EVIL, "now", True), ColumnDrift("b", 0.01, 0.1, "x", "y", False)]
    parts += data.drift(Drift(3, 7, "", drifted, None))
    parts += [data.anomalies([Anomaly(EVIL, "domain", "stop", EVIL, 3, 100, (EVIL,)), Anomaly("", "other", "", "x")])]
    parts += [data.schema([SchemaColumn(EVIL, "BYTES", True, EVIL)])]
    losses = {EVIL: Loss(0.1, 0.05, 0.2), "b": Loss(0.0, -0.01, 0.01)}
    shown = [
        data.label_alone(LabelAlone("y", {EVIL: 0.99, "b": 0.6}, [EVIL], {"train": (0, 100)})),
        data.importances({EVIL: 0.7, "b": 0.3}, EVIL),
        data.permutation(Permutation("auc", 300, 5, {"ensemble": losses, "one": losses}), MODELS),
    ]
    parts += [part for part in shown if part is not None]
    history = History("epoch", 1, {"loss": [1.0, 0.5, None], "val_loss": [1.1, 0.7, 0.8]})
    parts += training.history(history, EVIL)
    parts += [
        training.trials(
            Search(EVIL, [Trial("0", 0.5, {EVIL: EVIL}), Trial("1", None, {"units": 1}, None, EVIL, 1.0, EVIL)]), EVIL
        )
    ]
    checks = [Check("parity", False, EVIL)]
    parity = [Parity(EVIL, 10, 3e-7), Parity("b", 10, None), Parity("c", 10, 0.0)]
    parts += serving.trial(ServingTrial(False, parity, [Cost("load time", "s", 3.0, 2.0)], checks))
    steps = [
        Step(EVIL, "complete", 0.0, 3.0, 1.0, 200.0, EVIL, "log"),
        Step("b", "not_run", None, None, None, None, "", ""),
    ]
    return [*parts, *timeline.timeline(steps)]


def ensemble_report() -> EnsembleReport:
    """Return a report with a dropped member."""
    kept = Contribution("one", 0.7, 0.1, 0.05, 0.15, True, "")
    dropped = Contribution(EVIL, 0.0, None, None, None, False, EVIL)
    return EnsembleReport(
        "stacking", 300, "blend", [kept, dropped], {"one": {"one": 1.0, EVIL: None}, EVIL: {"one": 0.5}}, 1.1
    )


def charts(parts: list[Part]) -> list[Chart]:
    """Return all charts, those within grids and folds too."""
    found: list[Chart] = []
    for part in parts:
        if isinstance(part, Chart):
            found.append(part)
        elif isinstance(part, (Grid, Folded)):
            found += charts(list(part.parts))
    return found
