"""Read a pipeline's YAML: find it by name or path, apply flags and environment variables, check it as a whole.

A value comes from the flag `--set a.b=value`, or else from the environment (`BENISON__A__B=value`), or else from the
YAML, or else it is the default. All mistakes are reported at once, one per line, each with its file, flag or variable.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from benison.pipelines.code.code_reference import display_path
from benison.pipelines.config import Pipeline, strict_yaml, yaml_edit
from benison.pipelines.config.mistakes import (
    Mistake,
    code_mistakes,
    data_mistakes,
    declared_mistakes,
    foreign_mistakes,
    keys_at,
    kind_mistakes,
    label_mistakes,
    shape_mistakes,
    slice_mistakes,
    unknown_key,
)
from benison.pipelines.config.nested import at, put
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
    """A value from a flag or the environment, and the key whose value it replaces."""

    origin: str
    loc: Loc
    text: str


def load(
    path_or_name: str | Path,
    overrides: Mapping[str, str] = MappingProxyType({}),
    environ: Mapping[str, str] = os.environ,
    check_data: bool = True,
) -> Pipeline:
    """Read and check a pipeline's YAML.

    It imports neither TensorFlow nor the pipeline's own code; it finds the functions by parsing.

    Args:
        path_or_name: a Path; or text: a path (it ends in .yaml or .yml, or contains a slash) or a name, see `find`.
        overrides: values of `--set`, as YAML text, by dotted key.
        environ: environment variables; `BENISON__A__B` sets the key a.b, in upper or lower case.
        check_data: whether a missing CSV file, or a missing file in `code.files`, is a mistake.

    Raises:
        UsageError: the file does not exist or is wrong; one line per mistake.
    """
    path = find(path_or_name)
    name = display_path(path)
    document = _read(path, name)
    raw, override_errors = document.value, []
    applied: list[_Override] = []
    for override in (*_from_environment(environ, raw), *_from_flags(overrides, raw)):
        try:
            raw = put(_with_default(raw, override.loc), override.loc, override_value(override.text))
        except ValueError as error:
            override_errors.append(f"{_prefix(override, override.loc)}{error}")
        else:
            # It replaces the earlier overrides of this key and of the keys in it.
            applied = [old for old in applied if old.loc[: len(override.loc)] != override.loc] + [override]

    checked = _validated(raw, path)
    mistakes = [Mistake(loc, message) for loc, message in document.faults]
    mistakes += [] if isinstance(checked, Pipeline) else checked
    mistakes += code_mistakes(raw, path.parent)
    mistakes += data_mistakes(raw, path.parent) if check_data else []
    if isinstance(checked, Pipeline):
        mistakes += [*label_mistakes(checked), *slice_mistakes(checked), *kind_mistakes(checked)]
        mistakes += [*declared_mistakes(checked), *foreign_mistakes(checked)] if check_data else []
    if mistakes or override_errors or not isinstance(checked, Pipeline):
        raise UsageError("\n".join([*_lines(mistakes, name, document, applied), *override_errors]))
    return checked


def written(path_or_name: str | Path, overrides: Mapping[str, str]) -> str:
    """Return the text of a pipeline's YAML with values of `--set` written into it; its comments and order stay.

    Args:
        path_or_name: see `load`.
        overrides: values of `--set`, as YAML text, by dotted key.

    Raises:
        UsageError: the file cannot be read, or a value cannot be written without other changes.
    """
    path = find(path_or_name)
    with path.open(encoding="utf-8", newline="") as file:  # the ends of its lines stay, too
        text = file.read()
    mark, text = text[: text.startswith("\ufeff")], text.removeprefix("\ufeff")
    try:
        for key, value in overrides.items():
            raw = strict_yaml.parse(text).value
            loc = _dotted(key, raw)
            known = loc if _with_default(raw, loc) is raw else loc[:1]  # a default mapping is written whole
            text = yaml_edit.edit(text, known, at(put(_with_default(raw, loc), loc, override_value(value)), known))
    except ValueError as error:
        raise UsageError(f"{display_path(path)}: {error}") from error
    return mark + text


def find(path_or_name: str | Path) -> Path:
    """Find a pipeline's YAML file: by path, or by name in ./configs, the current folder and the shipped configs.

    Raises:
        UsageError: there is no such file; the message suggests close names.
    """
    if isinstance(path_or_name, Path) or path_or_name.endswith(_SUFFIXES) or "/" in path_or_name:
        path = Path(path_or_name).expanduser()
        if path.is_file():
            return path
        if path.is_dir():
            raise UsageError(f"{path_or_name}: is a folder, expected a YAML file")
        neighbours = [str(other) for suffix in _SUFFIXES for other in path.parent.glob(f"*{suffix}")]
        raise UsageError(f"{path_or_name}: no such file{did_you_mean(str(path), neighbours)}")
    for folder in _folders():
        for suffix in _SUFFIXES:
            if (file := folder / f"{path_or_name}{suffix}").is_file():
                return file
    hint = did_you_mean(path_or_name, [listed.name for listed in available()])
    looked_in = ", ".join("the current folder" if folder == Path() else display_path(folder) for folder in _folders())
    raise UsageError(f"no pipeline {path_or_name!r}{hint} (looked in {looked_in}; to name a file, end it with .yaml)")


def available() -> list[Listed]:
    """Return the pipelines that `find` finds by name, sorted.

    Other YAML files may be in the same folders, so only files with the key `ensemble` count.
    """
    listed: dict[str, Listed] = {}
    for folder in _folders():
        for path in sorted(path for suffix in _SUFFIXES for path in folder.glob(f"*{suffix}")):
            try:
                raw = _read(path, display_path(path)).value
            except UsageError:
                continue
            if "ensemble" in raw and path.stem not in listed:
                listed[path.stem] = Listed(path.stem, str(raw.get("description") or ""), path)
    return [listed[name] for name in sorted(listed)]


def _folders() -> list[Path]:
    """Return the folders to look in for a name, each folder once."""
    folders: dict[Path, Path] = {}
    for folder in (Path("configs"), Path(), *SHIPPED):
        if folder.is_dir():
            folders.setdefault(folder.resolve(), folder)
    return list(folders.values())


def _read(path: Path, name: str) -> Document:
    """Read the mapping in a YAML file.

    Raises:
        UsageError: the file cannot be read, is not YAML or is not a mapping.
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
        raise UsageError(f"{name}: {got}, expected a mapping with keys from {keys}")
    return document


def mistakes_in(raw: Mapping[str, Any], path: Path) -> list[Mistake]:
    """Return what is wrong with the content of a YAML that is not yet written, except with data and code."""
    checked = _validated(raw, path)
    return [] if isinstance(checked, Pipeline) else checked


def _validated(raw: Mapping[str, Any], path: Path) -> Pipeline | list[Mistake]:
    # The models have a field `source`, but it is not a key of the YAML.
    mistakes = [Mistake(("source",), unknown_key(("source",)))] if "source" in raw else []
    try:
        pipeline = Pipeline.model_validate({**raw, "source": path})
    except ValidationError as error:
        return mistakes + shape_mistakes(error)
    return mistakes or pipeline


def override_value(text: str) -> Any:
    """Parse an override's text.

    Raises:
        ValueError: it is not YAML, or it has faulty keys.
    """
    document = strict_yaml.parse(text)
    if document.faults:
        loc, message = document.faults[0]
        raise ValueError(f"{'.'.join(loc)}: {message}")
    return document.value


def _from_flags(overrides: Mapping[str, str], raw: Mapping[str, Any]) -> Iterator[_Override]:
    for key, text in overrides.items():
        yield _Override(f"--set {key}", _dotted(key, raw), text)


def _dotted(key: str, raw: Any) -> Loc:
    """Return the keys of a dotted key; a key of the config may contain dots, such as that of a column `a.b`.

    A key of `ensemble` may stand for itself: `members.deep.epochs` is `ensemble.members.deep.epochs`.
    """
    loc: Loc = ()
    parts = key.split(".")
    if parts[0] not in keys_at(()) and parts[0] in keys_at(("ensemble",)):
        parts = ["ensemble", *parts]
    while parts:
        known = raw if isinstance(raw, Mapping) else {}
        length = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in known), 1)
        name, parts = ".".join(parts[:length]), parts[length:]
        loc, raw = (*loc, name), known.get(name)
    return loc


def _from_environment(environ: Mapping[str, str], raw: Mapping[str, Any]) -> Iterator[_Override]:
    """Yield the overrides from the environment, sorted, so that a whole mapping comes before the keys in it."""
    for variable in sorted(environ):
        if variable.upper().startswith(ENVIRONMENT_PREFIX):
            parts = variable[len(ENVIRONMENT_PREFIX) :].split("__")
            yield _Override(variable, _in_original_case(parts, raw), environ[variable])


def _in_original_case(parts: list[str], raw: Any) -> Loc:
    """Return a key in the upper or lower case that the config or the models use."""
    loc: Loc = ()
    for part in parts:
        known = [*(raw if isinstance(raw, Mapping) else ()), *keys_at(loc)]
        key = next((key for key in known if key.lower() == part.lower()), part.lower())
        loc = (*loc, key)
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return loc


def _with_default(raw: dict[str, Any], loc: Loc) -> dict[str, Any]:
    """Write a default mapping into the config before one of its keys is replaced; the other keys keep their values."""
    field = Pipeline.model_fields.get(loc[0])
    if len(loc) == 1 or loc[0] in raw or field is None or not isinstance(field.default, ConfigModel):
        return raw
    return {**raw, loc[0]: field.default.model_dump(mode="json")}


def _lines(mistakes: list[Mistake], name: str, document: Document, applied: list[_Override]) -> list[str]:
    """Format the mistakes, the file's first, top to bottom; one per key, because the first often causes the others."""
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
    """Return `--set a.b: ` without the key, which it already contains, and any other override with it."""
    return f"{override.origin}: " + ("" if override.origin.endswith(f" {'.'.join(loc)}") else f"{'.'.join(loc)}: ")


def _origin(loc: Loc, document: Document, applied: list[_Override]) -> _Override | None:
    """Return the override that a key's value comes from; None if it comes from the file."""
    above = [override for override in applied if loc[: len(override.loc)] == override.loc]
    if above:
        return max(above, key=lambda override: len(override.loc))
    # A mapping that only an override created: `--set ensemble.members.dep.epochs=3`.
    below = [override for override in applied if override.loc[: len(loc)] == loc]
    return below[0] if below and loc not in document.lines else None


def _line(loc: Loc, document: Document) -> int:
    """Return the line of the key, or of its nearest parent; missing keys at the top level come last."""
    parents = [loc[:length] for length in range(len(loc), 0, -1)]
    last = len(document.lines) + 1_000_000
    return next((document.lines[parent] for parent in parents if parent in document.lines), last)
