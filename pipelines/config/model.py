"""The models of a pipeline's YAML: frozen, parsed once.

    Pipeline
    ├── Data            the files that hold the rows
    ├── Splits          the split of the rows
    ├── Cost            the costs of wrong predictions
    ├── DeclaredReads   what the Python code reads besides the data
    ├── Ensemble
    │   └── Member      one model, by name
    │       └── Tuner   its search space: choices and `Range`s
    ├── Blessing
    │   └── Rule        a threshold on a metric
    ├── Serving         see benison.serving.deploy.settings
    └── Airflow         see benison.pipelines.config.airflow

Every path and reference in a `Pipeline` is absolute, so it means the same in another folder or process, and
`Pipeline.model_validate(pipeline.model_dump(mode="json"))` gives the same pipeline back.
`benison.pipelines.config_file` reads the YAML. Nothing here reads the disk, unless a method's docstring says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from benison.components.evaluate.metrics import METRICS, default_metric
from benison.pipelines.code import code_reference
from benison.pipelines.code.user_code import UserCode
from benison.pipelines.config import csv_paths
from benison.pipelines.config.airflow import AirflowConfig, Schedule
from benison.pipelines.config.contradictions import contradictions
from benison.pipelines.config.periods import FORMS, Every, is_date
from benison.pipelines.config.types import (
    COMBINERS,
    PREPROCESSING,
    Amount,
    AnomalyKind,
    Bool,
    Cell,
    Character,
    Choice,
    ClassName,
    Combiner,
    Confidence,
    ConfigModel,
    Count,
    Distance,
    Encoding,
    Features,
    MemberFunction,
    MemberName,
    NotNegative,
    Number,
    Other,
    ParameterName,
    PipelineName,
    Probability,
    Scalar,
    Seed,
    Severity,
    Share,
    Target,
    Text,
    TimeFormat,
    Trials,
    VariableName,
)
from benison.pipelines.generic.columns import ColumnConfig, with_generic_code
from benison.serving.deploy.settings import Serving

if TYPE_CHECKING:
    from benison.components.ingest.times import TimeColumn

WRITE = "write"


class Data(ConfigModel):
    """The files that hold the rows: CSV files, or TFRecord files of tf.Example.

    With a `source`, patterns are relative to the folder that it wrote to.
    """

    source: Features | None = Field(
        default=None, description="a function write(folder) that writes the files into a folder"
    )
    csv: Text | None = Field(
        default=None, description="a path, a pattern such as 'data/*.csv' or 'data/**/*.csv', or package:NAME/PATH"
    )
    tfrecord: Text | None = Field(default=None, description="a path or a pattern of files of tf.Example")
    missing: tuple[Cell, ...] = Field(default=("",), description="cells of a CSV that mean 'no value'")
    delimiter: Character = Field(default=",", description="the delimiter of a CSV")
    encoding: Encoding = Field(default="utf-8", description="the encoding of a CSV")
    decimal: Literal[".", ","] = Field(default=".", description="the decimal sign of numbers in a CSV")
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
    """The search for good hyperparameters: its algorithm, its length and its space."""

    algorithm: Literal["random", "grid", "bayesian", "hyperband"] = "random"
    trials: Trials = Field(default=10, description="the number of trials; hyperband derives it from the epochs instead")
    epochs: Count = Field(default=0, description="epochs per trial; default: the member's epochs")
    space: Mapping[ParameterName, Values] = Field(min_length=1, description="values to choose from, by hyperparameter")


class Member(ConfigModel):
    """One model of the ensemble. In a `Pipeline`, `function` is always a complete reference."""

    function: MemberFunction = Field(default="", description="the function that builds it; default: the member's name")
    epochs: Count = Field(default=50, description="the maximum number of epochs")
    batch_size: Count = Field(default=32, description="rows per batch")
    patience: Count = Field(default=8, description="epochs without a better loss on `valid` before training ends")
    imbalance: Literal["none", "class_weight", "undersample"] = Field(
        default="none",
        description="weight rare classes more, or drop rows of frequent ones; probabilities are corrected for it",
    )
    hyperparameters: Mapping[ParameterName, Scalar] = Field(default={}, description="fixed values by hyperparameter")
    tuner: Tuner | None = None

    @model_validator(mode="before")
    @classmethod
    def _all_defaults(cls, raw: Any) -> Any:
        """Accept `linear:` without a value as a member with all defaults."""
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
        default="none", description="the calibration of the combined probabilities, fitted on blend"
    )
    drop: Bool = Field(default=True, description="drop members that do not help, if weights are fitted")
    quorum: Count = Field(default=1, description="how many members must answer, if they are served separately")
    members: Mapping[MemberName, Member] = Field(min_length=1, description="the members, by name")


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
    columns: Mapping[Text, Distance] = Field(default={}, description="the limit for single columns")


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
    max_overlap: Share = Field(
        default=0.01, description="the largest share of the rows of test that may also be in train, beyond chance"
    )


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


class Pipeline(ConfigModel):
    """A whole pipeline."""

    source: Path = Field(description="the YAML file, absolute; not a key in it")
    name: PipelineName = Field(description="the pipeline's name; models are served under it")
    description: str = Field(default="", description="one line for `benison list`")
    problem: Literal["binary", "multiclass", "regression"] = Field(description="binary, multiclass or regression")
    label: Text = Field(description="the column to predict")
    positive: ClassName | None = Field(
        default=None,
        description="the positive class of a binary problem; default: the schema's, else yes or true, else the last",
    )
    data: Data = Field(description="a mapping with the key csv or tfrecord")
    splits: Splits = Splits(train=6, valid=1, blend=1, test=2)
    schema_path: Path = Field(
        default=None,
        alias="schema",
        validate_default=True,
        description="the curated schema, which may not exist yet; default: schemas/NAME.pbtxt",
    )
    columns: Mapping[Text, ColumnConfig] = Field(
        default={}, description="the kind of each column, for Benison's generic features"
    )
    features: Features = Field(description="the module or Python file that holds preprocessing_fn")
    models: Target = Field(description="the module or Python file that holds the members' functions")
    metric: Text = Field(
        default=None,
        validate_default=True,
        description="the metric of blessings and comparisons; default: auc, accuracy or rmse, by problem",
    )
    cost: Cost | None = Field(
        default=None, description="the costs of wrong predictions; gives a binary problem the metric cost"
    )
    threshold: Probability | None = Field(
        default=None,
        description="the probability of the positive class from which it is the decision; default: from cost, else 0.5",
    )
    slices: tuple[Text, ...] = Field(default=(), description="columns; metrics are computed for each of their values")
    code: DeclaredReads = Field(default=DeclaredReads(), description="what the Python code reads besides the data")
    ensemble: EnsembleConfig = Field(description="a mapping with the key members")
    validation: Validation = Validation()
    spans: Spans | None = Field(default=None, description="settings of data that arrives span by span")
    blessing: BlessingConfig = BlessingConfig()
    serving: Serving = Serving()
    seed: Seed = Field(default=7, description="the random seed; the same data, code and seed give the same models")
    beam: tuple[Text, ...] = Field(default=(), description="arguments for the Beam pipelines")
    schedule: Schedule | None = Field(
        default=None, description="when Airflow runs it: cron, or a preset such as @monthly"
    )
    airflow: AirflowConfig = AirflowConfig()

    @property
    def references(self) -> dict[str, str]:
        """References to the functions that the pipeline calls, by their key in the YAML."""
        members = {f"ensemble.members.{name}": member.function for name, member in self.ensemble.members.items()}
        source = {"data.source": self.data.source} if self.data.source else {}
        combiner = {} if self.ensemble.combiner in COMBINERS else {"ensemble.combiner": self.ensemble.combiner}
        return {"features": self.features, **members, **source, **combiner}

    def user_code(self, *keys: str) -> UserCode:
        """Return the functions at some keys of `references` with the files and variables that the YAML says they read.

        This looks for the files of modules and packages on disk.

        Raises:
            UsageError: the module or file of a function does not exist.
            DataError: the package of a file that they read is not installed.
        """
        functions = tuple(code_reference.by_file(self.references[key]) for key in keys)
        return UserCode(functions, tuple(map(csv_paths.located, self.code.files)), self.code.env)

    @property
    def time_column(self) -> TimeColumn | None:
        """The column to order the rows by, and how to read it."""
        from benison.components.ingest.times import TimeColumn

        data = self.data
        if data.time is None:
            return None
        decimal = data.decimal if data.csv is not None or self.spans is not None else "."
        limit = self.validation.max_missing_time
        return TimeColumn(data.time, data.time_format, frozenset(data.missing), decimal, limit)

    def files(self) -> list[Path]:
        """Find the data files of a pipeline without a `source` on disk, sorted.

        Raises:
            DataError: there are none.
        """
        return csv_paths.find(self.data.csv or self.data.tfrecord or "")

    @model_validator(mode="wrap")
    @classmethod
    def _with_contradictions(cls, raw: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        """Report contradictions between keys together with the mistakes of single keys, all at once."""
        raw = with_generic_code(raw)
        mistakes = list(contradictions(raw))
        try:
            pipeline = handler(raw)
        except ValidationError as error:
            mistakes = [_copied(dict(details)) for details in error.errors()] + mistakes
        if mistakes:
            raise ValidationError.from_exception_data(cls.__name__, mistakes)
        return pipeline

    @field_validator("source")
    @classmethod
    def _absolute(cls, source: Path) -> Path:
        return Path(os.path.abspath(source))

    @field_validator("data")
    @classmethod
    def _data_beside_the_yaml(cls, data: Data, info: ValidationInfo) -> Data:
        if data.source is not None:
            target, function = code_reference.split(data.source)
            return data.model_copy(
                update={"source": f"{code_reference.absolute(target, _folder(info))}:{function or WRITE}"}
            )
        patterns = {key: value for key in ("csv", "tfrecord") if (value := getattr(data, key)) is not None}
        return data.model_copy(
            update={key: csv_paths.absolute(value, _folder(info)) for key, value in patterns.items()}
        )

    @field_validator("schema_path", mode="before")
    @classmethod
    def _schema_beside_the_yaml(cls, path: Any, info: ValidationInfo) -> Any:
        path = f"schemas/{info.data.get('name')}.pbtxt" if path is None else path
        if not isinstance(path, (str, Path)) or not str(path):
            raise PydanticCustomError("expected", "a path")
        return os.path.abspath(_folder(info) / Path(path).expanduser())

    @field_validator("features")
    @classmethod
    def _complete_features(cls, features: str, info: ValidationInfo) -> str:
        target, function = code_reference.split(features)
        return f"{code_reference.absolute(target, _folder(info))}:{function or PREPROCESSING}"

    @field_validator("models")
    @classmethod
    def _models_beside_the_yaml(cls, models: str, info: ValidationInfo) -> str:
        return code_reference.absolute(models, _folder(info))

    @field_validator("code")
    @classmethod
    def _files_beside_the_yaml(cls, code: DeclaredReads, info: ValidationInfo) -> DeclaredReads:
        files = tuple(csv_paths.absolute(path, _folder(info)) for path in code.files)
        return code.model_copy(update={"files": files})

    @field_validator("metric", mode="before")
    @classmethod
    def _metric_of_the_problem(cls, metric: Any, info: ValidationInfo) -> Any:
        # A wrong problem is reported once; it must not count as a missing metric too.
        return default_metric(info.data.get("problem", "binary")) if metric is None else metric

    @field_validator("ensemble")
    @classmethod
    def _complete_functions(cls, ensemble: EnsembleConfig, info: ValidationInfo) -> EnsembleConfig:
        if "models" not in info.data:
            return ensemble
        members = {
            name: member.model_copy(update={"function": _complete(member.function or name, info)})
            for name, member in ensemble.members.items()
        }
        combiner = ensemble.combiner if ensemble.combiner in COMBINERS else _complete(ensemble.combiner, info)
        return ensemble.model_copy(update={"members": members, "combiner": combiner})


def _complete(function: str, info: ValidationInfo) -> str:
    """Return a member's function as a complete reference."""
    target, _, name = function.rpartition(":")
    return f"{code_reference.absolute(target, _folder(info)) if target else info.data['models']}:{name}"


def _folder(info: ValidationInfo) -> Path:
    """Return the folder that relative paths are relative to."""
    return Path(info.data.get("source", "")).parent


def _copied(details: dict[str, Any]) -> InitErrorDetails:
    """Turn a reported error into the form that a new ValidationError takes."""
    kind = PydanticCustomError(details["type"], details["msg"], details.get("ctx"))
    return InitErrorDetails(type=kind, loc=details["loc"], input=details["input"])
