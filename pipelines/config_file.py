"""Reading a pipeline's YAML: found by name or by path, overridden by environment and flags, checked as a whole.

A value comes from the flag `--set a.b=value`, else from the environment (`BENISON__A__B=value`), else from the YAML,
else it is the default. All mistakes are told at once, one per line, each with the place that it came from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from benison.pipelines.code.code_reference import shown
from benison.pipelines.config import Pipeline, strict_yaml
from benison.pipelines.config.mistakes import Mistake, keys_at, of_code, of_data, of_shape, unknown_key
from benison.pipelines.config.strict_yaml import Document, Loc, NotYaml
from benison.pipelines.config.types import ConfigModel
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

ENVIRONMENT_PREFIX = "BENISON__"
# The shipped configs: inside the package in a wheel, beside it in a clone.
_HERE = Path(__file__).resolve().parent  # a clone imports this package through a link
SHIPPED = (_HERE / "configs", _HERE.parent / "configs")
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Listed:
    """A pipeline that `load` finds by name."""

    name: str
    description: str
    path: Path


@dataclass(frozen=True)
class _Override:
    """A value from a flag or from the environment, and the key that it replaces."""

    origin: str
    loc: Loc
    text: str


def load(
    path_or_name: str,
    overrides: Mapping[str, str] = MappingProxyType({}),
    environ: Mapping[str, str] = os.environ,
    check_data: bool = True,
) -> Pipeline:
    """Reads and checks a pipeline.

    Imports neither TensorFlow nor the pipeline's own code, whose functions are looked for by parsing.

    Args:
        path_or_name: a path (it ends in .yaml or .yml, or holds a slash), or a name, see `find`.
        overrides: values of `--set`, as YAML text, by dotted key.
        environ: its `BENISON__A__B` stand for the key a.b, in any case of letters.
        check_data: whether a missing CSV file is a mistake.

    Raises:
        UsageError: the file is not there or is wrong; one line per mistake.
    """
    path = find(path_or_name)
    name = shown(path)
    document = _read(path, name)
    raw, wrong = document.value, []
    applied: list[_Override] = []
    for override in (*_from_environment(environ, raw), *_from_flags(overrides)):
        try:
            raw = put(_with_default(raw, override.loc), override.loc, _value(override.text))
        except ValueError as error:
            wrong.append(f"{_prefix(override, override.loc)}{error}")
        else:
            # What this one replaces as a whole no longer comes from where it came from.
            applied = [old for old in applied if old.loc[: len(override.loc)] != override.loc] + [override]

    checked = _validated(raw, path)
    mistakes = [Mistake(loc, message) for loc, message in document.faults]
    mistakes += [] if isinstance(checked, Pipeline) else checked
    mistakes += of_code(raw, path.parent)
    mistakes += of_data(raw, path.parent) if check_data else []
    if mistakes or wrong or not isinstance(checked, Pipeline):
        raise UsageError("\n".join([*_lines(mistakes, name, document, applied), *wrong]))
    return checked


def find(path_or_name: str) -> Path:
    """The YAML file that is meant: a path as it is, a name from ./configs, the current folder or the shipped ones.

    Raises:
        UsageError: there is none; names close ones.
    """
    if path_or_name.endswith(_SUFFIXES) or "/" in path_or_name:
        path = Path(path_or_name).expanduser()
        if path.is_file():
            return path
        if path.is_dir():
            raise UsageError(f"{path_or_name}: is a folder, expected a YAML file")
        beside = [str(other) for suffix in _SUFFIXES for other in path.parent.glob(f"*{suffix}")]
        raise UsageError(f"{path_or_name}: no such file{did_you_mean(str(path), beside)}")
    for folder in _folders():
        for suffix in _SUFFIXES:
            if (file := folder / f"{path_or_name}{suffix}").is_file():
                return file
    hint = did_you_mean(path_or_name, [listed.name for listed in available()])
    looked_in = ", ".join("the current folder" if folder == Path() else shown(folder) for folder in _folders())
    raise UsageError(f"no pipeline {path_or_name!r}{hint} (looked in {looked_in}; a file is named with its .yaml)")


def available() -> list[Listed]:
    """The pipelines that can be named, sorted; of two with the same name the one that `find` takes.

    Other YAML files may lie in the same folders, so only what holds an ensemble counts.
    """
    found: dict[str, Listed] = {}
    for folder in _folders():
        for path in sorted(path for suffix in _SUFFIXES for path in folder.glob(f"*{suffix}")):
            try:
                raw = _read(path, shown(path)).value
            except UsageError:
                continue
            if "ensemble" in raw and path.stem not in found:
                found[path.stem] = Listed(path.stem, str(raw.get("description") or ""), path)
    return [found[name] for name in sorted(found)]


def _folders() -> list[Path]:
    """Where names are looked for, each folder once."""
    folders: dict[Path, Path] = {}
    for folder in (Path("configs"), Path(), *SHIPPED):
        if folder.is_dir():
            folders.setdefault(folder.resolve(), folder)
    return list(folders.values())


def _read(path: Path, name: str) -> Document:
    """The mapping that a YAML file holds.

    Raises:
        UsageError: it cannot be read, is no YAML or no mapping.
    """
    try:
        document = strict_yaml.parse(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from error
    except NotYaml as error:
        raise UsageError(f"{name}: {error}") from error
    if not isinstance(document.value, dict):
        got = "the file is empty" if document.value is None else f"got a {type(document.value).__name__}"
        keys = ", ".join(keys_at(()))
        raise UsageError(f"{name}: {got}, expected a mapping with keys out of {keys}")
    return document


def _validated(raw: Mapping[str, Any], path: Path) -> Pipeline | list[Mistake]:
    # The models have a field `source`, but it is ours to fill.
    own = [Mistake(("source",), unknown_key(("source",)))] if "source" in raw else []
    try:
        pipeline = Pipeline.model_validate({**raw, "source": path})
    except ValidationError as error:
        return own + of_shape(error)
    return own or pipeline


def _value(text: str) -> Any:
    """The value that an override's text means.

    Raises:
        ValueError: it is no YAML, or has keys that are no good.
    """
    document = strict_yaml.parse(text)
    if document.faults:
        loc, message = document.faults[0]
        raise ValueError(f"{'.'.join(loc)}: {message}")
    return document.value


def _from_flags(overrides: Mapping[str, str]) -> Iterator[_Override]:
    for key, text in overrides.items():
        yield _Override(f"--set {key}", tuple(key.split(".")), text)


def _from_environment(environ: Mapping[str, str], raw: Mapping[str, Any]) -> Iterator[_Override]:
    """Sorted, so that a whole mapping comes before the keys in it."""
    for variable in sorted(environ):
        if variable.upper().startswith(ENVIRONMENT_PREFIX):
            parts = variable[len(ENVIRONMENT_PREFIX) :].split("__")
            yield _Override(variable, _spelled(parts, raw), environ[variable])


def _spelled(parts: list[str], raw: Any) -> Loc:
    """The key that is meant, in the case that the config or the models write it in."""
    loc: Loc = ()
    for part in parts:
        known = [*(raw if isinstance(raw, Mapping) else ()), *keys_at(loc)]
        key = next((key for key in known if key.lower() == part.lower()), part.lower())
        loc = (*loc, key)
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return loc


def _with_default(raw: dict[str, Any], loc: Loc) -> dict[str, Any]:
    """Writes a default mapping out before one key in it is replaced, so that its other keys keep their values."""
    field = Pipeline.model_fields.get(loc[0])
    if len(loc) == 1 or loc[0] in raw or field is None or not isinstance(field.default, ConfigModel):
        return raw
    return {**raw, loc[0]: field.default.model_dump(mode="json")}


def put(node: Any, loc: Loc, value: Any) -> Any:
    """A copy of `node` that holds `value` at `loc`; mappings on the way are made where there are none.

    Raises:
        ValueError: something on the way is neither mapping nor list, or a list is too short.
    """
    if not loc:
        return value
    key, rest = loc[0], loc[1:]
    if isinstance(node, list):
        if not key.isdecimal() or int(key) >= len(node):
            raise ValueError(f"no entry {key!r} in a list of {len(node)} (they count from 0)")
        return [*node[: int(key)], put(node[int(key)], rest, value), *node[int(key) + 1 :]]
    if node is not None and not isinstance(node, dict):
        raise ValueError(f"no key {key!r} in {node!r}, which is no mapping")
    node = node or {}
    return {**node, key: put(node.get(key), rest, value)}


def _lines(mistakes: list[Mistake], name: str, document: Document, applied: list[_Override]) -> list[str]:
    """The mistakes as text, the file's first, from top to bottom. One per key: the rest follows from the first."""
    ranked: dict[Loc, tuple[tuple[int, int, str], str]] = {}
    for mistake in mistakes:
        override = _origin(mistake.loc, document, applied)
        if override:
            rank, line = (1, applied.index(override), mistake.key), _prefix(override, mistake.loc) + mistake.message
        else:
            rank, line = (0, _line(mistake.loc, document), mistake.key), f"{name}: {mistake.key}: {mistake.message}"
        ranked.setdefault(mistake.loc, (rank, line))
    return [line for _, line in sorted(ranked.values())]


def _prefix(override: _Override, loc: Loc) -> str:
    """`--set a.b: ` says the key already; `BENISON__A__B: a.b: ` and a key further inside are told."""
    return f"{override.origin}: " + ("" if override.origin.endswith(f" {'.'.join(loc)}") else f"{'.'.join(loc)}: ")


def _origin(loc: Loc, document: Document, applied: list[_Override]) -> _Override | None:
    """The override that a key's value comes from; None where it is the file's."""
    above = [override for override in applied if loc[: len(override.loc)] == override.loc]
    if above:
        return max(above, key=lambda override: len(override.loc))
    # A mapping that only an override made: `--set ensemble.members.dep.epochs=3`.
    below = [override for override in applied if override.loc[: len(loc)] == loc]
    return below[0] if below and loc not in document.lines else None


def _line(loc: Loc, document: Document) -> int:
    """The line of the key, or of the nearest one above it; what is missing altogether comes last."""
    places = [loc[:length] for length in range(len(loc), 0, -1)]
    return next((document.lines[place] for place in places if place in document.lines), len(document.lines) + 1_000_000)
