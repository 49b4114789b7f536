"""`benison eject`: the generic features and members of a pipeline, written out as Python that is the user's own.

What is written are the very functions of `benison.pipelines.generic` that the pipeline uses, so its features stay the
same.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benison.pipelines import config_file
from benison.pipelines.code.code_reference import find, shown
from benison.pipelines.config import strict_yaml
from benison.pipelines.generic.columns import GENERIC, SIZES, feature_names
from benison.serving.errors import UsageError

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline

_WIDTH = 120
_NOTE = "# Ejected: {features} says now what becomes of each column. It was written from this:"


def eject(name: str, to: Path | None = None) -> tuple[Path, ...]:
    """Writes features.py and models.py, and lets the YAML name them; its comments stay.

    Args:
        name: the pipeline's name, or its YAML file.
        to: the folder; None for one of the pipeline's name beside the YAML.

    Returns:
        The files that were written, the YAML last.

    Raises:
        UsageError: the pipeline has Python of its own already, or one of the files is there.
    """
    config = config_file.load(name, check_data=False)
    for key, given in (("features", config.features.rpartition(":")[0]), ("models", config.models)):
        if given != GENERIC[key]:
            raise UsageError(f"{shown(config.source)}: {key}: is {given}, code of your own already; nothing to eject")
    folder = Path(os.path.abspath(to)) if to else config.source.parent / config.name
    features, models = folder / "features.py", folder / "models.py"
    there = [shown(file) for file in (features, models) if file.exists()]
    if there:
        raise UsageError(f"{', '.join(there)}: there already; name another folder with --to")
    # Text first: nothing is written if one of them cannot be made.
    named = {key: _named(file, config.source.parent) for key, file in (("features", features), ("models", models))}
    texts = {
        features: features_text(config),
        models: models_text(config),
        config.source: yaml_text(config.source.read_text(encoding="utf-8-sig"), named),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    return tuple(Path(shown(file)) for file in texts)


def features_text(config: Pipeline) -> str:
    """A module with a preprocessing_fn for these columns and the functions that it calls."""
    columns = {name: column.model_dump(exclude_none=True) for name, column in config.columns.items()}
    keys = feature_names(columns)
    numbers = [name for name, column in columns.items() if column["kind"] == "number"]
    calls = ['        "numbers": numbers(inputs, NUMBERS),'] if numbers else []
    for kind in ("category", "hashed", "date", "text"):
        for name, column in columns.items():
            if column["kind"] == kind:
                size = column.get("size", SIZES.get(kind))
                more = {
                    "category": f"size={size}, vocabulary={_literal(keys[name])}",
                    "hashed": f"size={size}",
                    "date": f"form={_literal(column['format']) if 'format' in column else None}",
                    "text": f"size={size}, vocabulary={_literal(keys[name])}",
                }[kind]
                calls.append(f"        {_literal(keys[name])}: {kind}(inputs[{_literal(name)}], {more}),")
    function = "\n".join(
        [
            "def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:",
            '    """The features of a row; the label is Benison\'s own business.',
            "",
            "    Args:",
            "        inputs: raw features, Tensor or SparseTensor [batch, 1].",
            "",
            "    Returns:",
            "        float32 [batch, n] by the name of the feature.",
            '    """',
            "    return {",
            *calls,
            "    }",
        ]
    )
    constant = _tuple("NUMBERS", numbers) if numbers else ""
    docstring = f"What the members see of a row of {config.name}. Written by `benison eject`; yours from here on."
    return _module(Source.read(find(GENERIC["features"])), docstring, constant=constant, function=function)


def models_text(config: Pipeline) -> str:
    """A module with the members that the pipeline has, and the functions that they call."""
    functions = dict.fromkeys(member.function for member in config.ensemble.members.values())
    generic = [
        name for target, _, name in (function.rpartition(":") for function in functions) if target == config.models
    ]
    docstring = (
        f"The members of {config.name}: each turns the features into what the output layer reads.\n\n"
        "Written by `benison eject`; yours from here on."
    )
    return _module(Source.read(find(GENERIC["models"])), docstring, wanted=generic)


def yaml_text(text: str, named: Mapping[str, str]) -> str:
    """A YAML that names `features` and `models`, with its `columns` out of use; all else stays as it is written.

    Args:
        text: the YAML.
        named: what to name, by key.
    """
    lines = text.splitlines()
    top = {loc[0]: line - 1 for loc, line in strict_yaml.parse(text).lines.items() if len(loc) == 1}
    start = top["columns"]
    end = min((line for line in top.values() if line > start), default=len(lines))
    for position in range(start, end):
        if lines[position].strip() and not lines[position].startswith("#"):
            lines[position] = f"# {lines[position]}"
    lines.insert(start, _NOTE.format(features=named["features"]))
    written = {key: f"{key}: {_literal(value)}" for key, value in named.items()}
    for key in [key for key in written if key in top]:
        _, comment, rest = lines[top[key]].partition(" #")
        lines[top[key]] = written.pop(key) + (f" {comment}{rest}" if comment else "")
    while start and lines[start - 1].startswith("#"):  # what is said of the columns stays with them
        start -= 1
    lines[start:start] = [*written.values(), ""] if written else []
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Source:
    """A module's statements.

    Attributes:
        imports: import statements.
        texts: of definitions and constants, by name, in order; with the comments above them.
        uses: the names that each of them uses.
    """

    imports: tuple[ast.stmt, ...]
    texts: Mapping[str, str]
    uses: Mapping[str, frozenset[str]]

    @classmethod
    def read(cls, file: Path) -> Source:
        """Parses a module of functions and constants."""
        text = file.read_text(encoding="utf-8")
        lines, tree = text.splitlines(), ast.parse(text)
        imports: list[ast.stmt] = []
        texts: dict[str, str] = {}
        uses: dict[str, frozenset[str]] = {}
        above, last = 0, ""
        for statement in tree.body:
            segment = "\n".join(lines[above : statement.end_lineno]).strip("\n")
            above = statement.end_lineno or above
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                imports.append(statement)
            elif isinstance(statement, (ast.FunctionDef, ast.Assign)):
                target = statement if isinstance(statement, ast.FunctionDef) else statement.targets[0]
                last = target.name if isinstance(target, ast.FunctionDef) else ast.unparse(target)
                texts[last], uses[last] = segment, frozenset(_names(statement))
            elif last:  # the text that describes a constant
                texts[last] += f"\n{segment}"
        return cls(tuple(imports), texts, uses)

    def reached(self, names: Iterable[str]) -> list[str]:
        """The definitions that these names need, themselves included, in the module's order."""
        found: set[str] = set()
        waiting = [name for name in names if name in self.texts]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += [used for used in self.uses[name] if used in self.texts]
        return [name for name in self.texts if name in found]


def _module(source: Source, docstring: str, constant: str = "", function: str = "", wanted: Iterable[str] = ()) -> str:
    """A module's text: imports and constants that are needed, its own function, the functions that it needs."""
    own = f"{constant}\n{function}"
    copied = [source.texts[name] for name in source.reached([*wanted, *_names(ast.parse(own))])]
    functions = [text for text in copied if re.search("^def ", text, re.MULTILINE)]
    constants = [text for text in copied if text not in functions]
    used = set(_names(ast.parse("\n".join([own, *copied]))))
    head = [f'"""{docstring}\n"""' if "\n" in docstring else f'"""{docstring}"""', *_imports(source.imports, used)]
    values = "\n".join(text for text in (*constants, constant) if text)
    blocks = ["\n\n".join([*head, *([values] if values else [])]), *([function] if function else []), *functions]
    return "\n\n\n".join(blocks) + "\n"


def _imports(statements: Iterable[ast.stmt], used: set[str]) -> Iterator[str]:
    """The import lines that are still needed, in groups: the future, the standard library, others, Benison."""
    groups: dict[int, list[str]] = {}
    for statement in statements:
        if not isinstance(statement, (ast.Import, ast.ImportFrom)):
            continue
        module = (statement.module if isinstance(statement, ast.ImportFrom) else statement.names[0].name) or ""
        future = module == "__future__"
        kept = [a for a in statement.names if future or (a.asname or a.name.split(".")[0]) in used]
        if kept:
            statement.names = kept
            groups.setdefault(_group(module), []).append(ast.unparse(statement))
    for group in sorted(groups):
        yield "\n".join(groups[group])


def _group(module: str) -> int:
    top = module.split(".")[0]
    if top == "__future__":
        return 0
    if top in sys.stdlib_module_names:
        return 1
    return 3 if top in ("components", "pipelines", "serving") else 2


def _names(tree: ast.AST) -> Iterator[str]:
    return (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def _tuple(name: str, values: Sequence[str]) -> str:
    """An assignment of a tuple, on one line where it fits."""
    items = [_literal(value) for value in values]
    line = f"{name} = ({', '.join(items)}{',' if len(items) == 1 else ''})"
    return line if len(line) <= _WIDTH else "\n".join([f"{name} = (", *(f"    {item}," for item in items), ")"])


def _named(file: Path, folder: Path) -> str:
    """A file as the YAML names it: relative where it lies below the YAML's folder."""
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
