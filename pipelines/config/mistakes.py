"""Mistakes in a config, told one per line: where, what was given, what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from benison.pipelines.code import code_reference
from benison.pipelines.code.code_reference import FUNCTION, TARGET
from benison.pipelines.config import csv_paths
from benison.pipelines.config.contradictions import at
from benison.pipelines.config.model import WRITE, Pipeline
from benison.pipelines.config.strict_yaml import Loc
from benison.pipelines.config.types import PREPROCESSING
from benison.pipelines.generic.columns import with_generic_code
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError, UsageError

_MEMBERS = ("ensemble", "members")


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes:
        loc: the key that is wrong.
        message: what is wrong with it, and what would be right.
        about: the key to show, where that is not `loc` itself.
    """

    loc: Loc
    message: str
    about: Loc | None = None

    @property
    def key(self) -> str:
        """The key to show, dotted."""
        return ".".join(self.about or self.loc)


def of_shape(error: ValidationError) -> list[Mistake]:
    """The mistakes that the models found."""
    return [_mistake(dict(details)) for details in error.errors()]


def of_code(raw: Mapping[str, Any], folder: Path) -> Iterator[Mistake]:
    """References to code that is not there. A file that cannot be used is told once, not for each function in it.

    Args:
        raw: the config, not checked; references of a wrong form are left to `of_shape`.
        folder: what relative paths are relative to.
    """
    unusable = set()
    for reference in _references(raw):
        target = code_reference.place(reference.target, folder)
        if target in unusable:
            continue
        try:
            names = code_reference.names_in(code_reference.find(target))
        except UsageError as error:
            unusable.add(target)
            yield Mistake(reference.loc, str(error))
            continue
        if reference.function and names is not None and reference.function not in names:
            where = code_reference.shown(Path(target)) if code_reference.is_file(target) else target
            hint = did_you_mean(reference.function, (name for name in names if not name.startswith("_")))
            yield Mistake(reference.loc, f"no function {reference.function!r} in {where}{hint}", reference.about)


def of_data(raw: Mapping[str, Any], folder: Path) -> Iterator[Mistake]:
    """Data that are not there."""
    # Written when the pipeline runs, or landed span by span.
    if at(raw, "data", "source") is not None or at(raw, "spans") is not None:
        return
    for key in ("csv", "tfrecord"):
        files = at(raw, "data", key)
        if isinstance(files, str) and files:
            try:
                csv_paths.find(csv_paths.place(files, folder))
            except DataError as error:
                yield Mistake(("data", key), str(error))
            else:
                if key == "csv" and isinstance(at(raw, "columns"), Mapping):
                    yield from _of_columns(raw, csv_paths.place(files, folder))


def _of_columns(raw: Mapping[str, Any], csv: str) -> Iterator[Mistake]:
    """Columns, and a label, that the first of the files does not have."""
    from benison.components.ingest.csv_table import CsvTable

    file = csv_paths.find(csv)[0]
    options = {key: at(raw, "data", key) for key in ("delimiter", "encoding")}
    try:
        table = CsvTable((str(file),), **{key: value for key, value in options.items() if value is not None})
        header, where = table.header, code_reference.shown(file)
    except DataError as error:
        yield Mistake(("data", "csv"), str(error))
        return
    except (TypeError, LookupError):  # a wrong delimiter or encoding is told as such
        return
    wanted = [(("label",), at(raw, "label")), *((("columns", name), name) for name in at(raw, "columns"))]
    for loc, name in wanted:
        if isinstance(name, str) and name not in header:
            yield Mistake(loc, f"no column {name!r} in {where}{did_you_mean(name, header)}")


def keys_at(loc: Loc) -> list[str]:
    """The keys that the models allow at a place; none where the user chooses the keys, or there are no keys."""
    model = _model_at(loc)
    # The pipeline's own source is the YAML file, which no key names.
    return [key for key in _fields(model) if model is not Pipeline or key != "source"] if model else []


def unknown_key(loc: Loc) -> str:
    """What to say of a key that the models don't have; names the ones that they have."""
    allowed = keys_at(loc[:-1])
    return f"unknown key{did_you_mean(loc[-1], allowed)} (allowed: {', '.join(allowed)})"


@dataclass(frozen=True)
class _Reference:
    """Where a reference stands, its module or file, and its function (empty: only the file matters)."""

    loc: Loc
    target: str
    function: str
    about: Loc | None = None


def _references(raw: Mapping[str, Any]) -> Iterator[_Reference]:
    raw = with_generic_code(raw)
    features, models, members = at(raw, "features"), at(raw, "models"), at(raw, *_MEMBERS)
    source = at(raw, "data", "source")
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
    combiner = at(raw, "ensemble", "combiner")
    if _has_form(f".+\\.py:{FUNCTION}", combiner):
        target, _, function = combiner.rpartition(":")
        yield _Reference(("ensemble", "combiner"), target, function)
    for name, member in members.items() if isinstance(members, Mapping) else ():
        loc, given = (*_MEMBERS, name), at(member, "function")
        if _has_form(f"({TARGET}:)?{FUNCTION}", given or name):
            target, _, function = (given or name).rpartition(":")
            if target or models:
                yield _Reference((*loc, "function") if given else loc, target or models, function, about=loc)


def _has_form(form: str, given: Any) -> bool:
    return isinstance(given, str) and re.fullmatch(form, given) is not None


def _mistake(details: dict[str, Any]) -> Mistake:
    # `[key]` marks a wrong key instead of a wrong value, `<choice>` a branch of a union: no keys of the user's.
    loc = tuple(str(part) for part in details["loc"] if part != "[key]" and not str(part).startswith("<"))
    return Mistake(loc, _message(loc, details))


def _message(loc: Loc, details: dict[str, Any]) -> str:
    kind, given = details["type"], _shown(details["input"])
    if kind == "missing":
        return f"missing; expected {_description(loc)}"
    if kind == "extra_forbidden":
        return unknown_key(loc)
    if kind == "literal_error":
        allowed = re.findall("'([^']*)'", details["ctx"]["expected"])
        one_of = "one of " if len(allowed) > 1 else ""
        return f"got {given}, expected {one_of}{', '.join(allowed)}{did_you_mean(str(details['input']), allowed)}"
    if kind == "model_type":
        return f"got {given}, expected a mapping with keys out of {', '.join(keys_at(loc))}"
    if kind == "too_short":
        return "empty, expected at least one entry"
    if kind == "refused":
        return str(details["msg"])
    form = {"tuple_type": "a list", "dict_type": "a mapping", "mapping_type": "a mapping"}.get(kind)
    return f"got {given}, expected {form or details['msg']}"


def _shown(given: Any) -> str:
    """A value as YAML would write it, short."""
    if given is None:
        return "nothing"
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, Mapping):
        return "a mapping"
    if isinstance(given, (list, tuple)):
        return "a list"
    return repr(given) if len(repr(given)) <= 60 else f"{repr(given)[:60]}..."


def _description(loc: Loc) -> str:
    model = _model_at(loc[:-1])
    return (_fields(model)[loc[-1]].description if model else None) or "a value"


def _model_at(loc: Loc) -> type[BaseModel] | None:
    """Follows the models' annotations to the one whose keys stand at `loc`; None where the user chooses the keys."""
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
    """The one model that an annotation such as `Tuner | None` or `Mapping[str, Member]` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by the key that the YAML has for them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}
