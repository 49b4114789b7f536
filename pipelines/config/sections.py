"""The sections of a pipeline's YAML: their keys, types and defaults, and the checks of one section alone.

Paths and references are as they are in the YAML; `benison.pipelines.config.model` makes them absolute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from benison.components.evaluate.metrics import METRICS
from benison.components.train.foreign.settings import FOREIGN_KINDS
from benison.components.train.trees.settings import PATIENCE
from benison.pipelines.config import event_places
from benison.pipelines.config.foreign_models import ForeignKeys
from benison.pipelines.config.periods import FORMS, Every, is_date
from benison.pipelines.config.types import (
    COMBINERS,
    Amount,
    AmountForm,
    AnomalyKind,
    AnyText,
    Bool,
    Character,
    Choice,
    Combiner,
    Confidence,
    ConfigModel,
    Count,
    Distance,
    Encoding,
    Features,
    Folds,
    FunctionReference,
    MemberFunction,
    MemberName,
    MetricName,
    NotNegative,
    Number,
    Other,
    ParameterName,
    Scalar,
    Seed,
    Severity,
    Share,
    Text,
    TimeFormat,
    Trials,
    VariableName,
)
from benison.serving.number_text import AMOUNTS


class Data(ConfigModel):
    """The files that hold the rows: CSV, JSON lines or Parquet files, or TFRecord files of tf.Example.

    With a `source`, patterns are relative to the folder that it wrote to.
    """

    source: Features | None = Field(
        default=None, description="a function write(folder) that writes the files into a folder"
    )
    csv: Text | None = Field(
        default=None,
        description="a path, a pattern such as 'data/*.csv' or 'data/**/*.csv', or package:NAME/PATH; the files may "
        "also be JSON lines or Parquet",
    )
    tfrecord: Text | None = Field(default=None, description="a path or a pattern of files of tf.Example")
    missing: tuple[AnyText, ...] = Field(default=("",), description="cells that mean 'no value'")
    delimiter: Character = Field(default=",", description="the delimiter of a CSV")
    encoding: Encoding = Field(default="utf-8", description="the encoding of a CSV")
    decimal: Literal[".", ","] = Field(default=".", description="the decimal sign of numbers in a CSV")
    amounts: Mapping[Text, AmountForm] = Field(
        default_factory=dict,
        description="the columns of a CSV whose numbers are amounts, each with the form of its numbers: "
        f"{', '.join(map(repr, AMOUNTS))}; a currency, a percent sign or parentheses are read too",
    )
    time: Text | None = Field(
        default=None, description="the column to order the rows by; `test` is then the latest rows"
    )
    time_format: TimeFormat | None = Field(
        default=None,
        description="the format of data.time, as for strptime, such as '%d/%m/%Y', or number; default: ISO 8601, "
        "numbers such as Unix seconds or milliseconds, or the only format that fits all rows",
    )


class Splits(ConfigModel):
    """Hash buckets per split; a split's share of the rows is its buckets divided by the sum."""

    train: Count = Field(description="the number of hash buckets that members are trained on")
    valid: Count = Field(description="the number of hash buckets for early stopping and tuning")
    blend: Count = Field(description="the number of hash buckets for ensemble weights and calibration")
    test: Count = Field(description="the number of hash buckets for the Evaluator only")
    by: Text | None = Field(
        default=None,
        description="a column such as customer: rows with the same value are never in two splits; it is no feature",
    )
    seed: Seed = Field(default=0, description="another number gives other splits; the members have the pipeline's seed")

    @property
    def buckets(self) -> dict[str, int]:
        """Hash buckets by split."""
        return self.model_dump(exclude={"by", "seed"})


class Range(ConfigModel):
    """A range of a hyperparameter, both ends included; a range of integers if both ends are integers."""

    min: Number = Field(description="a number")
    max: Number = Field(description="a number")
    sampling: Literal["linear", "log"] = "linear"
    step: Number | None = Field(default=None, description="the step; with sampling log, each value is multiplied by it")

    @property
    def integer(self) -> bool:
        """True if the values are integers."""
        return isinstance(self.min, int) and isinstance(self.max, int)

    @model_validator(mode="after")
    def _can_be_sampled(self) -> Range:
        if self.min >= self.max:
            raise PydanticCustomError("refused", f"min {self.min} is not below max {self.max}")
        if self.sampling == "log" and self.min <= 0:
            raise PydanticCustomError("refused", f"got min {self.min} with sampling log, expected min > 0")
        lowest = 1 if self.sampling == "log" else 0
        if self.step is not None and (self.step <= lowest or (self.integer and not isinstance(self.step, int))):
            number = "an integer" if self.integer else "a number"
            raise PydanticCustomError("refused", f"got step {self.step}, expected {number} > {lowest}")
        return self


def _kind_of_space(value: Any) -> str | None:
    if isinstance(value, (list, tuple)):
        return "<choice>"
    return "<range>" if isinstance(value, (Mapping, Range)) else None


Values = Annotated[
    Annotated[Choice, Tag("<choice>")] | Annotated[Range, Tag("<range>")],
    Discriminator(
        _kind_of_space,
        custom_error_type="expected",
        custom_error_message="a choice, such as [16, 32], or a range, such as {min: 1, max: 9}",
    ),
]


class Tuner(ConfigModel):
    """The search for good hyperparameters: its algorithm, its length, its space and its processes."""

    algorithm: Literal["random", "grid", "bayesian", "hyperband"] = "random"
    trials: Trials = Field(default=10, description="the number of trials; hyperband derives it from the epochs instead")
    epochs: Count = Field(default=0, description="epochs per trial; default: the member's epochs")
    space: Mapping[ParameterName, Values] = Field(
        default={}, description="values to choose from, by hyperparameter; batch_size replaces the member's own"
    )
    objective: Literal["loss", "metric"] = Field(
        default="loss", description="what a trial is judged by on `valid`: the loss, or the pipeline's metric"
    )
    workers: Count = Field(
        default=1, description="the number of processes that run trials at the same time, each on a part of the cores"
    )
    profile: tuple[Count, Count] | None = Field(
        default=None,
        description="the first and the last batch of a trial that TensorFlow profiles for TensorBoard, such as [2, 5]",
    )
    class_: FunctionReference | None = Field(
        default=None,
        alias="class",
        description="a tuner class of your own, file.py:Class, a child of keras_tuner.Tuner with its own run_trial",
    )
    arguments: Mapping[Text, Any] = Field(default={}, description="arguments of the class")


class Trainer(ConfigModel):
    """The training of a member, with its own or the best hyperparameters."""

    distribute: Count = Field(
        default=1,
        description="the number of processes that train a Keras member together, each on a part of each batch",
    )


class Member(ForeignKeys):
    """One model of the ensemble. In a `Pipeline`, `function` is always a complete reference."""

    kind: Literal["keras", "linear", "trees", "saved_model", "onnx"] = Field(
        default="keras",
        description="keras, a network that a function builds; linear, a linear or logistic regression, solved exactly; "
        "trees, gradient-boosted trees; saved_model, a finished SavedModel; or onnx, a finished ONNX model",
    )
    function: MemberFunction = Field(
        default="",
        description="the function that builds it; default: the member's name. For trees, a function that fits them; "
        "default: CatBoost by Benison",
    )
    epochs: Count = Field(default=50, description="the maximum number of epochs")
    batch_size: Count = Field(default=32, description="rows per batch")
    patience: Count = Field(
        default=8,
        description="epochs without a better loss on `valid` before training ends; for trees, the number of trees, by "
        f"default {PATIENCE}",
    )
    imbalance: Literal["none", "class_weight", "undersample"] = Field(
        default="none",
        description="weight rare classes more, or drop rows of frequent ones; probabilities are corrected for it",
    )
    hyperparameters: Mapping[ParameterName, Scalar] = Field(default={}, description="fixed values by hyperparameter")
    tuner: Tuner | None = None
    trainer: Trainer = Trainer()

    @model_validator(mode="before")
    @classmethod
    def _all_defaults(cls, raw: Any) -> Any:
        """Accept `linear:` without a value as a member with all defaults."""
        if isinstance(raw, Mapping) and raw.get("kind") == "trees":
            return {"patience": PATIENCE, **raw}
        if isinstance(raw, Mapping) and raw.get("kind") in FOREIGN_KINDS:
            return {key: value for key, value in raw.items() if key != "function" or value != ""}
        return {} if raw is None else raw

    @field_validator("tuner")
    @classmethod
    def _epochs_of_a_trial(cls, tuner: Tuner | None, info: ValidationInfo) -> Tuner | None:
        if tuner is None or tuner.epochs or "epochs" not in info.data:
            return tuner
        return tuner.model_copy(update={"epochs": info.data["epochs"]})


class EnsembleConfig(ConfigModel):
    """The members, and how their outputs are combined."""

    combiner: Combiner = Field(
        default="mean",
        description=f"{', '.join(COMBINERS)}; or your own function, file.py:function",
    )
    weights: Mapping[MemberName, NotNegative] = Field(
        default={}, description="fixed weights by member; default: weighted_mean fits them, votes use equal weights"
    )
    calibration: Literal["none", "temperature", "bias_corrected_temperature"] = Field(
        default="none", description="the calibration of the combined probabilities, fitted on the rows of the combiner"
    )
    drop: Bool = Field(default=True, description="drop members that do not help, if weights are fitted")
    folds: Folds | None = Field(
        default=None,
        description="members learn from train, valid and blend, and the combiner from their predictions in so many "
        "folds; 0: never; default: 5 folds below 5,000 labelled rows, 3 below 50,000, none above",
    )
    quorum: Count = Field(default=1, description="how many members must answer, if they are served separately")
    members: Mapping[MemberName, Member] = Field(min_length=1, description="the members, by name")

    @field_validator("folds")
    @classmethod
    def _more_than_one_fold(cls, folds: int | None) -> int | None:
        if folds == 1:
            raise PydanticCustomError("refused", "got 1, expected 2 or more folds, or 0 for none")
        return folds


class DeclaredReads(ConfigModel):
    """Files and variables that the Python code reads; a change of one runs the nodes with this code again."""

    files: tuple[Text, ...] = Field(
        default=(), description="paths or patterns of files that the code reads, such as vocabulary.txt"
    )
    env: tuple[VariableName, ...] = Field(default=(), description="environment variables that the code reads")


class RuleConfig(ConfigModel):
    """A rule that the ensemble must satisfy to be blessed: a bound on a metric, or a comparison."""

    metric: Text = Field(description="the metric's name")
    min: Number | None = Field(default=None, description="the lowest acceptable value")
    max: Number | None = Field(default=None, description="the highest acceptable value")
    better_than: Other | None = Field(
        default=None, description="best_member or served: significantly better, by at least `by`"
    )
    not_worse_than: Other | None = Field(
        default=None, description="best_member or served: not significantly worse, allowing for `by`"
    )
    by: NotNegative = Field(default=0, description="a margin in the metric's unit")
    slices: tuple[Text, ...] = Field(default=(), description="columns; the rule must hold for each of their values")
    rows: Count = Field(default=50, description="values with fewer rows are not judged")

    @model_validator(mode="after")
    def _one_demand(self) -> RuleConfig:
        demands = [d for d in (self.min, self.max, self.better_than, self.not_worse_than) if d is not None]
        if len(demands) != 1:
            raise PydanticCustomError("refused", "expected exactly one of min, max, better_than and not_worse_than")
        metric = METRICS.get(self.metric)
        if metric and metric.greater_is_better and self.max is not None:
            raise PydanticCustomError("refused", "got max, expected min: higher is better in this metric")
        if metric and not metric.greater_is_better and self.min is not None:
            raise PydanticCustomError("refused", "got min, expected max: lower is better in this metric")
        if self.by and not (self.better_than or self.not_worse_than):
            raise PydanticCustomError(
                "refused", "by is a margin for better_than and not_worse_than, not for min and max"
            )
        return self


class OwnMetricConfig(ConfigModel):
    """A metric of your own: its name, and the function that computes it."""

    name: MetricName = Field(description="the name in tables and rules")
    function: FunctionReference = Field(description="file.py:function or module:function")
    larger_is_better: Bool = Field(default=True, description="false for costs and errors")


class Cost(ConfigModel):
    """The costs of wrong predictions in a binary problem, in any unit; see `positive`."""

    false_negative: Amount = Field(description="the cost of a missed positive, a number > 0")
    false_positive: Amount = Field(description="the cost of a false alarm, a number > 0")


class BlessingConfig(ConfigModel):
    """The rules for a push, besides the built-in ones: better than a guess, not worse than the served version."""

    confidence: Confidence = Field(
        default=0.95, description="the confidence level of the bootstrap intervals; at least 0.999 against a guess"
    )
    resamples: Count = Field(default=1000, description="the number of bootstrap resamples")
    rules: tuple[RuleConfig, ...] = ()


class Drift(ConfigModel):
    """The allowed distance of a span's distributions from the newest span that the served version was trained on."""

    default: Distance = Field(default=0.1, description="the largest allowed Jensen-Shannon divergence of a column")
    columns: Mapping[Text, Distance] = Field(
        default={}, description="the limit for single columns; data.time has none if it is not here"
    )
    label: Amount | None = Field(
        default=None,
        description="the largest allowed size of the label's change that a test does not explain by chance; default: "
        "0.5 (Cohen's h) for classes, 0.2 (Kolmogorov-Smirnov's D) for numbers",
    )


class Validation(ConfigModel):
    """The severity of anomalies in the data."""

    severity: Mapping[AnomalyKind, Severity] = Field(
        default={}, description="by kind of anomaly; default: new_column warns, all others stop the run"
    )
    columns: Mapping[Text, Severity] = Field(default={}, description="by column, for all kinds of anomaly")
    drift: Drift = Drift()
    max_missing_time: Share = Field(
        default=0.2,
        description="the largest allowed share of rows without a value in data.time; such rows are in `train`",
    )
    max_missing_labels: Share = Field(
        default=0.2,
        description="the largest allowed share of rows without a label, of all rows and of each split",
    )
    max_overlap: Share = Field(
        default=0.01, description="the largest share of the rows of test that may also be in train, beyond chance"
    )


class Lineage(ConfigModel):
    """Records of what was made from what, for other tools."""

    openlineage: Text | None = Field(
        default=None,
        description="where the OpenLineage events of each run go: a file, beside the YAML if relative, or http(s)://…",
    )

    @field_validator("openlineage")
    @classmethod
    def _without_secrets(cls, place: str | None) -> str | None:
        if place and (fault := event_places.fault(place)):
            raise PydanticCustomError("refused", "{fault}", {"fault": fault})
        return place


class Spans(ConfigModel):
    """Settings of data that arrives span by span, such as month by month."""

    window: Count | None = Field(default=None, description="how many of the newest spans a run takes; default: all")
    first: Text | None = Field(
        default=None, description="the period of span 1, such as 2013-01 with every: month; dates then name spans"
    )
    every: Every | None = Field(default=None, description="the period of each span: day, week, month or year")

    @model_validator(mode="after")
    def _dates_mean_spans(self) -> Spans:
        if (self.first is None) != (self.every is None):
            raise PydanticCustomError("refused", "got only one of first and every, expected both or neither")
        if self.first and self.every and not is_date(self.first, self.every):
            example = FORMS[self.every]
            raise PydanticCustomError(
                "refused", f"got first {self.first!r}, expected a {self.every} such as {example!r}"
            )
        return self
