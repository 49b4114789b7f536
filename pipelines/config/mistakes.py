"""Mistakes in a config, one line each: the key, its value, what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from benison.components.train.foreign.settings import FOREIGN_KINDS
from benison.components.train.trees.settings import FUNCTION as TREES
from benison.pipelines.code import code_reference
from benison.pipelines.code.code_reference import FUNCTION, TARGET
from benison.pipelines.config import csv_paths
from benison.pipelines.config.contradictions import value_at
from benison.pipelines.config.model import WRITE, Pipeline
from benison.pipelines.config.strict_yaml import Loc
from benison.pipelines.config.types import PREPROCESSING
from benison.pipelines.generic.columns import with_generic_code
from benison.serving import proto_text
from benison.serving.addresses import hide_secrets, without_secrets
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError, UsageError

if TYPE_CHECKING:
    from benison.components.ingest.csv_table import CsvTable

_TIMES_TO_CHECK = 1000  # rows
_MEMBERS = ("ensemble", "members")


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes:
        loc: the wrong key.
        message: what is wrong with it, and what is expected.
        about: the key to show, if it is not `loc`.
    """

    loc: Loc
    message: str
    about: Loc | None = None

    @property
    def key(self) -> str:
        """The key to show, dotted."""
        return ".".join(self.about or self.loc)


def shape_mistakes(error: ValidationError) -> list[Mistake]:
    """Return the mistakes that the models found."""
    return [_mistake(dict(details)) for details in error.errors()]


def code_mistakes(raw: Mapping[str, Any], folder: Path) -> Iterator[Mistake]:
    """Yield references to code that does not exist. An unusable file is reported once, not for each of its functions.

    Args:
        raw: the unchecked config; `shape_mistakes` reports malformed references.
        folder: the folder that paths are relative to.
    """
    unusable = set()
    for reference in _references(raw):
        target = code_reference.absolute(reference.target, folder)
        if target in unusable:
            continue
        try:
            names = code_reference.names_in(code_reference.find(target))
        except UsageError as error:
            unusable.add(target)
            yield Mistake(reference.loc, str(error))
            continue
        if reference.function and names is not None and reference.function not in names:
            where = code_reference.display_path(Path(target)) if code_reference.is_file(target) else target
            hint = did_you_mean(reference.function, (name for name in names if not name.startswith("_")))
            yield Mistake(reference.loc, f"no function {reference.function!r} in {where}{hint}", reference.about)


def data_mistakes(raw: Mapping[str, Any], folder: Path) -> Iterator[Mistake]:
    """Yield missing data files, and columns that the data does not have."""
    # The files of a source are written when the pipeline runs, those of spans arrive span by span.
    if value_at(raw, "data", "source") is not None or value_at(raw, "spans") is not None:
        return
    for key in ("csv", "tfrecord"):
        files = value_at(raw, "data", key)
        if isinstance(files, str) and files:
            try:
                csv_paths.find(csv_paths.absolute(files, folder))
            except DataError as error:
                yield Mistake(("data", key), str(error))
            else:
                if key == "csv":
                    yield from _column_mistakes(raw, csv_paths.absolute(files, folder))


def declared_mistakes(config: Pipeline) -> Iterator[Mistake]:
    """Yield the files of `code.files` that do not exist."""
    for position, path in enumerate(config.code.files):
        try:
            csv_paths.find(path)
        except DataError as error:
            yield Mistake(("code", "files", str(position)), str(error))


def foreign_mistakes(config: Pipeline) -> Iterator[Mistake]:
    """Yield the paths of finished models at which there is none."""
    for name, member in config.ensemble.members.items():
        path, loc = Path(str(member.path)), (*_MEMBERS, name, "path")
        if member.kind == "saved_model" and not (path / "saved_model.pb").is_file():
            yield Mistake(loc, f"{path} is no SavedModel: it has no file saved_model.pb")
        if member.kind == "onnx" and not path.is_file():
            yield Mistake(loc, f"{path}: no such file; expected an ONNX model")


def _column_mistakes(raw: Mapping[str, Any], csv: str) -> Iterator[Mistake]:
    """Yield the columns, and the label, that the files do not have; and a first row whose time cannot be read."""
    from benison.components.ingest.csv_table import CsvTable

    columns, time, slices = value_at(raw, "columns"), value_at(raw, "data", "time"), _slices(raw)
    only_slices = not isinstance(columns, Mapping) and not isinstance(time, str)
    if only_slices and not slices:
        return
    amounts = value_at(raw, "data", "amounts")
    amounts = amounts if isinstance(amounts, Mapping) else {}
    files = csv_paths.find(csv)
    options = {key: value_at(raw, "data", key) for key in ("delimiter", "encoding", "decimal")}
    try:
        table = CsvTable(tuple(map(str, files)), **{key: value for key, value in options.items() if value is not None})
        header, where = table.header, code_reference.display_path(files[0])
    except DataError as error:
        if not only_slices:  # otherwise the run reads the file first, and says more
            yield Mistake(("data", "csv"), str(error))
        return
    except (TypeError, LookupError):  # a wrong delimiter or encoding is a mistake of its own
        return
    names: list[tuple[Loc, Any]] = [(("data", "time"), time)]
    names += [] if only_slices else [(("label",), value_at(raw, "label"))]
    names += [(("columns", name), name) for name in columns or ()]
    names += [(("data", "amounts", name), name) for name in amounts if not only_slices]
    names += [(("slices", str(i)), name) for i, name in enumerate(slices)]
    for loc, name in names:
        if isinstance(name, str) and name not in header:
            yield Mistake(loc, f"no column {name!r} in {where}{did_you_mean(name, header)}")
    if isinstance(time, str) and time in header:
        yield from _time_mistakes(raw, table, time)


def _time_mistakes(raw: Mapping[str, Any], table: CsvTable, time: str) -> Iterator[Mistake]:
    """Yield the first cell among the first rows that cannot be read as a time; a run reads the others."""
    from benison.components.ingest.times import Survey, TimeColumn, cells_of, format_fault

    form, missing = value_at(raw, "data", "time_format"), value_at(raw, "data", "missing")
    if form is not None and (not isinstance(form, str) or format_fault(form)):
        return  # a mistake of its own
    if not isinstance(missing, (list, tuple)):
        missing = ("",)
    survey = Survey(TimeColumn(time, form, frozenset(map(str, missing)), table.decimal))
    try:
        for cell in islice(cells_of(table, time), _TIMES_TO_CHECK):
            survey.add(cell)
    except DataError as error:
        yield Mistake(("data", "time"), str(error))


def _slices(raw: Mapping[str, Any]) -> list[Any]:
    slices = value_at(raw, "slices")
    return list(slices) if isinstance(slices, (list, tuple)) else []


def slice_mistakes(pipeline: Pipeline) -> Iterator[Mistake]:
    """Yield the slices that are not columns of the curated schema; a slice need not be a feature."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    if not pipeline.slices or not pipeline.schema_path.is_file():
        return
    where = code_reference.display_path(pipeline.schema_path)
    try:
        columns = [feature.name for feature in proto_text.read(where, schema_pb2.Schema()).feature]
    except UsageError as error:
        yield Mistake(("schema",), str(error))
        return
    for i, name in enumerate(pipeline.slices):
        if name not in columns:
            yield Mistake(("slices", str(i)), f"no column {name!r} in {where}{did_you_mean(name, columns)}")


def kind_mistakes(pipeline: Pipeline) -> Iterator[Mistake]:
    """Yield the columns that are numbers by the YAML and text by the curated schema."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    numbers = {name for name, column in pipeline.columns.items() if column.kind == "number"}
    if not numbers or not pipeline.schema_path.is_file():
        return
    where = code_reference.display_path(pipeline.schema_path)
    try:
        schema = proto_text.read(where, schema_pb2.Schema())
    except UsageError:
        return  # a mistake of its own
    for feature in schema.feature:
        if feature.name in numbers and feature.type == schema_pb2.BYTES:
            expected = f"expected type: INT or FLOAT in {where}, which says BYTES (text), or another kind"
            yield Mistake(("columns", feature.name), f"got number, {expected}")


def label_mistakes(pipeline: Pipeline) -> Iterator[Mistake]:
    """Yield what the YAML and the curated schema say differently about the classes of the label."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    from benison.components.label_classes import LabelSchema, check_agreement, ordered

    if pipeline.problem == "regression" or not pipeline.schema_path.is_file():
        return
    where = code_reference.display_path(pipeline.schema_path)
    try:
        schema = LabelSchema.of(proto_text.read(where, schema_pb2.Schema()), pipeline.label)
        if schema.listed:
            ordered(pipeline.label, pipeline.problem, (), schema, pipeline.positive)
        else:
            check_agreement(pipeline.label, schema, pipeline.positive)
    except UsageError as error:
        yield Mistake(("schema",), str(error))
    except DataError as error:
        yield Mistake(("positive" if pipeline.positive else "problem",), f"{error} (the schema is {where})")


def keys_at(loc: Loc) -> list[str]:
    """Return the keys that the models allow at a key path; empty if the user chooses the keys, or there are none."""
    model = _model_at(loc)
    # The field `source` of a pipeline is the YAML file, which is not a key.
    return [key for key in _fields(model) if model is not Pipeline or key != "source"] if model else []


def unknown_key(loc: Loc) -> str:
    """Return the message for a key that the models do not have; it names the keys that they have."""
    allowed = keys_at(loc[:-1])
    return f"unknown key{did_you_mean(loc[-1], allowed)} (allowed: {', '.join(allowed)})"


@dataclass(frozen=True)
class _Reference:
    """A reference's key, its module or file, and its function (empty if only the file matters)."""

    loc: Loc
    target: str
    function: str
    about: Loc | None = None


def _references(raw: Mapping[str, Any]) -> Iterator[_Reference]:
    raw = with_generic_code(raw)
    features, models, members = value_at(raw, "features"), value_at(raw, "models"), value_at(raw, *_MEMBERS)
    source = value_at(raw, "data", "source")
    if _has_form(f"{TARGET}(:{FUNCTION})?", source):
        target, function = code_reference.split(source)
        yield _Reference(("data", "source"), target, function or WRITE)
    if _has_form(f"{TARGET}(:{FUNCTION})?", features):
        target, function = code_reference.split(features)
        yield _Reference(("features",), target, function or PREPROCESSING)
    if _has_form(TARGET, models):
        yield _Reference(("models",), models, "")
    else:
        models = ""
    combiner = value_at(raw, "ensemble", "combiner")
    if _has_form(f".+\\.py:{FUNCTION}", combiner):
        target, _, function = combiner.rpartition(":")
        yield _Reference(("ensemble", "combiner"), target, function)
    metrics = value_at(raw, "metrics")
    for i, metric in enumerate(metrics if isinstance(metrics, list) else ()):
        if _has_form(f"{TARGET}:{FUNCTION}", function := value_at(metric, "function")):
            target, _, name = function.rpartition(":")
            yield _Reference(("metrics", str(i), "function"), target, name)
    for name, member in members.items() if isinstance(members, Mapping) else ():
        if _has_form(f"{TARGET}:{FUNCTION}", own := value_at(member, "tuner", "class")):
            target, _, cls = own.rpartition(":")
            yield _Reference((*_MEMBERS, name, "tuner", "class"), target, cls)
        loc, written = (*_MEMBERS, name), value_at(member, "function")
        if value_at(member, "kind") in ("linear", *FOREIGN_KINDS) or (
            value_at(member, "kind") == "trees" and written in (None, "", TREES)
        ):
            continue
        if _has_form(f"({TARGET}:)?{FUNCTION}", written or name):
            target, _, function = (written or name).rpartition(":")
            if target or models:
                yield _Reference((*loc, "function") if written else loc, target or models, function, about=loc)


def _has_form(form: str, value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(form, value) is not None


def _mistake(details: dict[str, Any]) -> Mistake:
    # `[key]` marks a wrong key instead of a wrong value, `<choice>` a branch of a union; neither is a key in the YAML.
    loc = tuple(str(part) for part in details["loc"] if part != "[key]" and not str(part).startswith("<"))
    return Mistake(loc, hide_secrets(_message(loc, details)))


def _message(loc: Loc, details: dict[str, Any]) -> str:
    kind, got = details["type"], _format(details["input"])
    if kind == "missing":
        return f"missing; expected {_description(loc)}"
    if kind == "extra_forbidden":
        return unknown_key(loc)
    if kind == "literal_error":
        allowed = re.findall("'([^']*)'", details["ctx"]["expected"])
        one_of = "one of " if len(allowed) > 1 else ""
        return f"got {got}, expected {one_of}{', '.join(allowed)}{did_you_mean(str(details['input']), allowed)}"
    if kind == "model_type":
        return f"got {got}, expected a mapping with keys from {', '.join(keys_at(loc))}"
    if kind == "too_short":
        return "empty, expected at least one entry"
    if kind == "refused":
        return str(details["msg"])
    form = {"tuple_type": "a list", "dict_type": "a mapping", "mapping_type": "a mapping"}.get(kind)
    return f"got {got}, expected {form or details['msg']}"


def _format(value: Any) -> str:
    """Format a value as YAML would write it, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    shown = repr(without_secrets(hide_secrets(value)) if isinstance(value, str) else value)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."


def _description(loc: Loc) -> str:
    model = _model_at(loc[:-1])
    return (_fields(model)[loc[-1]].description if model else None) or "a value"


def _model_at(loc: Loc) -> type[BaseModel] | None:
    """Follow the models' annotations to the model whose keys are at `loc`; None if the user chooses the keys."""
    model: type[BaseModel] | None = Pipeline
    in_container = False
    for part in loc:
        if in_container:  # this part is a member's name or a position in a list
            in_container = False
            continue
        field = _fields(model).get(part) if model else None
        model = _model_in(field.annotation) if field else None
        in_container = field is not None and get_origin(field.annotation) in (tuple, Mapping)
    return None if in_container else model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model in an annotation such as `Tuner | None` or `Mapping[str, Member]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a model's fields by their key in the YAML."""
    return {field.alias or name: field for name, field in model.model_fields.items()}
