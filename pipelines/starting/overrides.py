"""The values of `--set` at `benison init`: what they fix before the guess, and how they get into the YAML."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from benison.pipelines import config_file
from benison.pipelines.config import strict_yaml, yaml_edit
from benison.pipelines.config.contradictions import value_at
from benison.pipelines.config.mistakes import shape_mistakes
from benison.pipelines.config.nested import put
from benison.pipelines.config.sections import Data
from benison.pipelines.generic.columns import ColumnConfig
from benison.pipelines.starting.guess import Fixed
from benison.serving.errors import UsageError

_Model = TypeVar("_Model", bound=BaseModel)
# The keys of `data` that say how the file is read.
_READ_BY = ("encoding", "delimiter", "decimal", "missing", "amounts")
_GIVEN_ELSEWHERE = {"name": "NAME", "label": "--label", "problem": "--problem", "weight": "--weight"}


def parse(settings: Mapping[str, str]) -> dict[tuple[str, ...], Any]:
    """Return the values by the path to their key.

    A column's name may contain dots, so everything between `columns.` and a last `.kind`, `.format` or `.size` is one.

    Raises:
        UsageError: a value is not YAML, or a key has an option of its own.
    """
    values = {}
    for key, text in settings.items():
        if option := _GIVEN_ELSEWHERE.get(key):
            raise UsageError(f"--set {key}: use {option}")
        try:
            values[_path(key)] = config_file.override_value(text)
        except ValueError as error:
            raise UsageError(f"--set {key}: {error}") from None
    return values


def fixed(given: Mapping[tuple[str, ...], Any], problem: str | None, weight: str | None = None) -> Fixed:
    """Return what is not guessed because the user gives it.

    Raises:
        UsageError: a value is wrong.
    """
    tree: Any = {}
    for path, value in given.items():
        if path[0] in ("data", "columns", "splits"):
            tree = put(tree, path, value)
    data = _checked(Data, ("data",), tree.get("data") or {}, given)
    columns = {
        name: _checked(ColumnConfig, ("columns", name), kind, given)
        for name, kind in (tree.get("columns") or {}).items()
    }
    by = value_at(tree, "splits", "by")
    known = {key: getattr(data, key) for key in _READ_BY if key in data.model_fields_set}
    return Fixed(
        problem,
        **known,
        columns={name: column.model_dump() for name, column in columns.items()},
        weight=weight,
        by=by if isinstance(by, str) else None,  # `applied` refuses another type
    )


def applied(given: Mapping[tuple[str, ...], Any], text: str, path: Path) -> str:
    """Return the text of the YAML with the values, its comments kept.

    Raises:
        UsageError: the YAML would be wrong.
    """
    for loc, value in given.items():
        if loc[0] != "columns" and loc[:2] not in {("data", key) for key in _READ_BY}:  # these are in the text already
            try:
                text = yaml_edit.edit(text, loc, value)
            except ValueError as error:  # a key on the way has no mapping
                raise UsageError(f"--set {'.'.join(loc)}: {error}") from None
    if given and (mistakes := config_file.mistakes_in(strict_yaml.parse(text).value, path)):
        raise UsageError("\n".join(f"--set {_named(mistake.loc, given)}: {mistake.message}" for mistake in mistakes))
    return text


def _checked(model: type[_Model], at: tuple[str, ...], raw: Any, given: Collection[tuple[str, ...]]) -> _Model:
    """Return a part of the config; `at` is the path to it.

    Raises:
        UsageError: a value is wrong.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = (f"--set {_named((*at, *mistake.loc), given)}: {mistake.message}" for mistake in shape_mistakes(error))
        raise UsageError("\n".join(lines)) from None


def _named(loc: tuple[str, ...], given: Collection[tuple[str, ...]]) -> str:
    """Return the key of a mistake, as `--set` names it."""
    return ".".join(next((path for path in given if loc[: len(path)] == path), loc))


def _path(key: str) -> tuple[str, ...]:
    if key.startswith("columns."):
        name = key.removeprefix("columns.")
        before, _, option = name.rpartition(".")
        return ("columns", before, option) if before and option in ColumnConfig.model_fields else ("columns", name)
    if key.startswith("data.amounts."):
        return ("data", "amounts", key.removeprefix("data.amounts."))
    return tuple(key.split("."))
