"""The model of a whole YAML: its sections, with all paths and references made absolute; frozen, parsed once.

    Pipeline
    ├── Data            the files that hold the rows
    ├── Splits          the split of the rows
    ├── OwnMetricConfig a metric of the user's own
    ├── Cost            the costs of wrong predictions
    ├── DeclaredReads   what the Python code reads besides the data
    ├── Ensemble
    │   └── Member      one model, by name
    │       └── Tuner   its search space: choices and `Range`s
    ├── Validation      the severity of anomalies
    ├── Spans           data that arrives in parts
    ├── Blessing
    │   └── Rule        a threshold on a metric
    ├── Serving         see benison.serving.deploy.settings
    ├── Lineage         records for other tools
    └── Airflow         see benison.pipelines.config.airflow

The sections above Serving are in `benison.pipelines.config.sections`.

Every path and reference in a `Pipeline` is absolute, so it means the same in another folder or process, and
`Pipeline.model_validate(pipeline.model_dump(mode="json"))` gives the same pipeline back.
`benison.pipelines.config_file` reads the YAML. Nothing here reads the disk, unless a method's docstring says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from benison.components.evaluate.metrics import default_metric
from benison.components.train.foreign.settings import FOREIGN_KINDS, OTHER_DATA
from benison.components.train.linear.settings import FUNCTION as LINEAR
from benison.components.train.trees.settings import FUNCTION as TREES
from benison.pipelines.code import code_reference
from benison.pipelines.code.user_code import UserCode
from benison.pipelines.config import csv_paths, event_places
from benison.pipelines.config.airflow import AirflowConfig, Schedule
from benison.pipelines.config.contradictions import contradictions
from benison.pipelines.config.sections import (
    BlessingConfig,
    Cost,
    Data,
    DeclaredReads,
    EnsembleConfig,
    Lineage,
    Member,
    OwnMetricConfig,
    Spans,
    Splits,
    Tuner,
    Validation,
)
from benison.pipelines.config.tracking import TrackingConfig
from benison.pipelines.config.types import (
    COMBINERS,
    PREPROCESSING,
    ClassName,
    Confidence,
    ConfigModel,
    Features,
    PipelineName,
    Probability,
    Seed,
    Target,
    Text,
)
from benison.pipelines.generic.columns import GENERIC, TREE_FEATURES, ColumnConfig, with_generic_code
from benison.serving.deploy.settings import Serving

if TYPE_CHECKING:
    from benison.components.ingest.times import TimeColumn

WRITE = "write"


# The keys about when a run begins and what is notified of it. Nothing that a node makes depends on them.
AROUND_RUNS = frozenset({"schedule", "airflow", "lineage", "tracking"})


class Pipeline(ConfigModel):
    """A whole pipeline."""

    source: Path = Field(description="the YAML file, absolute; not a key in it")
    name: PipelineName = Field(description="the pipeline's name; models are served under it")
    description: str = Field(default="", description="one line for `benison list`")
    purpose: str = Field(default="", description="what the model is for, for its model card; default: the description")
    limits: tuple[Text, ...] = Field(
        default=(), description="what the model is not for, or not good at, one sentence each, for its model card"
    )
    problem: Literal["binary", "multiclass", "regression"] = Field(description="binary, multiclass or regression")
    label: Text = Field(description="the column to predict")
    positive: ClassName | None = Field(
        default=None,
        description="the positive class of a binary problem; default: the schema's, else yes or true, else the last",
    )
    target: Literal["plain", "auto"] = Field(
        default="plain",
        description="auto: a member learns a skewed label of a regression on a logarithmic scale, if that is better on "
        "rows that it did not learn from",
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
    models: Target = Field(
        default=GENERIC["models"],
        validate_default=True,
        description="the module or Python file that holds the members' functions; default: Benison's own",
    )
    metric: Text = Field(
        default=None,
        validate_default=True,
        description="the metric of blessings and comparisons; default: auc, accuracy or rmse, by problem",
    )
    metrics: tuple[OwnMetricConfig, ...] = Field(
        default=(), description="metrics of your own, beside those of the problem: in tables, rules and `metric`"
    )
    cost: Cost | None = Field(
        default=None, description="the costs of wrong predictions; gives a binary problem the metric cost"
    )
    threshold: Probability | None = Field(
        default=None,
        description="the lowest probability that decides for the positive class; default: from cost, else 0.5",
    )
    weight: Text | None = Field(
        default=None,
        description="column of sample weights, numbers of at least 0: how much a row counts in training and metrics",
    )
    interval: Confidence | None = Field(
        default=None,
        description="the share of the labels of a regression that the intervals of its answers hold; default: 0.9",
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
    lineage: Lineage = Lineage()
    tracking: TrackingConfig = TrackingConfig()

    @property
    def references(self) -> dict[str, str]:
        """References to the functions that the pipeline calls, by their key in the YAML.

        At `trees`, which is no key, is Benison's own function for the features of trees.
        """
        members = {
            f"ensemble.members.{name}": member.function
            for name, member in self.ensemble.members.items()
            if member.kind not in FOREIGN_KINDS
        }
        source = {"data.source": self.data.source} if self.data.source else {}
        combiner = {} if self.ensemble.combiner in COMBINERS else {"ensemble.combiner": self.ensemble.combiner}
        trees = {"trees": TREE_FEATURES} if any(m.kind == "trees" for m in self.ensemble.members.values()) else {}
        metrics = {f"metrics.{metric.name}": metric.function for metric in self.metrics}
        tuners = {
            f"ensemble.members.{name}.tuner.class": member.tuner.class_
            for name, member in self.ensemble.members.items()
            if member.tuner and member.tuner.class_
        }
        return {"features": self.features, **members, **tuners, **source, **combiner, **metrics, **trees}

    @property
    def called(self) -> dict[str, tuple[str, ...]]:
        """The keys of `references` whose functions a node calls, by its id.

        The Pusher calls none; it records what the version was made from.
        """
        keys, foreign = tuple(self.references), self.foreign
        judging = ("ColumnImportance", "Blessing", "TFLiteConverter")
        return {
            "Transform": tuple(key for key in keys if key in ("features", "trees")),
            "EnsembleBuilder": tuple(key for key in keys if key == "ensemble.combiner"),
            **dict.fromkeys(judging, tuple(key for key in keys if key.startswith("metrics."))),
            "Pusher": tuple(key for key in keys if key != "data.source"),
            **{
                f"Trainer.{name}": (f"ensemble.members.{name}",)
                for name in self.ensemble.members
                if name not in foreign
            },
            **{
                f"Tuner.{name}": tuple(
                    key
                    for key in keys
                    if key in (f"ensemble.members.{name}", f"ensemble.members.{name}.tuner.class")
                    or (key.startswith("metrics.") and member.tuner.objective == "metric")
                )
                for name, member in self.ensemble.members.items()
                if member.tuner
            },
        }

    @property
    def foreign(self) -> dict[str, Member]:
        """The members that were trained elsewhere, by name."""
        return {name: member for name, member in self.ensemble.members.items() if member.kind in FOREIGN_KINDS}

    @property
    def foreign_columns(self) -> list[str]:
        """The raw columns that members get that were trained elsewhere, sorted."""
        return sorted({c for member in self.foreign.values() for columns in member.inputs.values() for c in columns})

    @property
    def unproven(self) -> list[str]:
        """The members that may have learnt from the rows that they are judged on."""
        return [name for name, member in self.foreign.items() if member.learnt_from != OTHER_DATA]

    @property
    def withheld(self) -> dict[str, str]:
        """The columns besides the label that are no features, each with the key that names it."""
        keys = {"splits.by": self.splits.by, "weight": self.weight}
        return {column: f"which {key} names" for key, column in keys.items() if column}

    @property
    def used_columns(self) -> frozenset[str]:
        """The columns that the YAML itself uses: the label, those with a role, and the features of `columns`."""
        features = (name for name, column in self.columns.items() if column.kind != "ignore")
        return frozenset({self.label, *self.withheld, *features, *self.foreign_columns})

    def foreign_files(self, name: str) -> str:
        """Return the pattern of the files of a finished model, for `data_files.find`."""
        member = self.ensemble.members[name]
        return f"{member.path}/**/*" if member.kind == "saved_model" else str(member.path)

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

    @field_validator("metrics")
    @classmethod
    def _complete_metrics(
        cls, metrics: tuple[OwnMetricConfig, ...], info: ValidationInfo
    ) -> tuple[OwnMetricConfig, ...]:
        return tuple(
            metric.model_copy(update={"function": f"{code_reference.absolute(target, _folder(info))}:{name}"})
            for metric in metrics
            for target, _, name in [metric.function.rpartition(":")]
        )

    @field_validator("code")
    @classmethod
    def _files_beside_the_yaml(cls, code: DeclaredReads, info: ValidationInfo) -> DeclaredReads:
        files = tuple(csv_paths.absolute(path, _folder(info)) for path in code.files)
        return code.model_copy(update={"files": files})

    @field_validator("lineage")
    @classmethod
    def _events_beside_the_yaml(cls, lineage: Lineage, info: ValidationInfo) -> Lineage:
        place = lineage.openlineage
        if place is None or event_places.is_address(place):
            return lineage
        return lineage.model_copy(update={"openlineage": os.path.abspath(_folder(info) / Path(place).expanduser())})

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
            name: member.model_copy(
                update={
                    "function": _function(name, member, info),
                    "path": _path(member, info),
                    "tuner": _tuner(member.tuner, info),
                }
            )
            for name, member in ensemble.members.items()
        }
        combiner = ensemble.combiner if ensemble.combiner in COMBINERS else _complete(ensemble.combiner, info)
        return ensemble.model_copy(update={"members": members, "combiner": combiner})


def _function(name: str, member: Member, info: ValidationInfo) -> str:
    """Return the complete reference of a member's function; linear ones and trees without one have Benison's own.

    A finished model has none.
    """
    if member.kind in FOREIGN_KINDS:
        return ""
    own = {"linear": LINEAR, "trees": TREES}.get(member.kind)
    if own is not None and member.function in ("", own):
        return own
    return _complete(member.function or name, info)


def _path(member: Member, info: ValidationInfo) -> str | None:
    """Return the absolute path of a finished model; None if there is none."""
    return None if member.path is None else os.path.abspath(_folder(info) / Path(member.path).expanduser())


def _tuner(tuner: Tuner | None, info: ValidationInfo) -> Tuner | None:
    """Return a tuner whose own class has a complete reference."""
    if tuner is None or tuner.class_ is None:
        return tuner
    return tuner.model_copy(update={"class_": _complete(tuner.class_, info)})


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
