"""A YAML parser that records the line of every key and reports keys that PyYAML silently accepts.

PyYAML takes the last of two equal keys, reads `3e-4` as text and turns `2024-01-31` into a date. Each of these makes a
wrong config that looks right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

# The path to a key: the keys (and list positions) that lead to it.
Loc = tuple[str, ...]

_TEXT, _FLOAT, _DATE, _MERGE = (f"tag:yaml.org,2002:{tag}" for tag in ("str", "float", "timestamp", "merge"))
# YAML 1.2's floats: the dot is optional if there is an exponent.
_FLOAT_FORM = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+
         |[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?)
         |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


class NotYaml(ValueError):
    """Text that is not valid YAML; the message says where and why."""


@dataclass(frozen=True)
class Document:
    """A parsed text.

    Attributes:
        value: the content: mappings (only text keys), lists, text, numbers, true/false, None.
        lines: the line (from 1) of each key and list entry.
        faults: the keys that are left out of `value`, and why.
    """

    value: Any
    lines: Mapping[Loc, int]
    faults: tuple[tuple[Loc, str], ...]


class Loader(yaml.SafeLoader):
    """Reads dates as text, and the floats of YAML 1.2."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag not in (_FLOAT, _DATE)]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(_FLOAT, _FLOAT_FORM, list("-+0123456789."))


def parse(text: str) -> Document:
    """Parse one YAML document.

    Raises:
        NotYaml: the text cannot be parsed.
    """
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None, {}, ())
        walk = _Walk({}, [], set())
        walk.visit(node, ())
        value = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = str(error.problem or error.context).replace("'<stream end>'", "the end of the text")
        raise NotYaml(f"{where}not valid YAML: {problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise NotYaml(f"line {line}: not valid YAML: {error.reason} (U+{error.character:04X})") from error
    except (ValueError, LookupError, RecursionError) as error:  # a wrong explicit tag (`!!int x`), endless nesting
        raise NotYaml(f"not valid YAML: {error}") from error
    return Document(value, walk.lines, tuple(walk.faults))


@dataclass(frozen=True)
class _Walk:
    """Visits the nodes before they become values, because values no longer have line numbers."""

    lines: dict[Loc, int]
    faults: list[tuple[Loc, str]]
    seen: set[int]

    def visit(self, node: yaml.Node, loc: Loc) -> None:
        if id(node) in self.seen:  # an alias: the anchor's line counts
            return
        self.seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            node.value = [pair for pair in node.value if self._keep(pair[0], pair[1], loc)]
        elif isinstance(node, yaml.SequenceNode):
            for position, entry in enumerate(node.value):
                self._enter(entry, (*loc, str(position)), entry.start_mark.line + 1)

    def _keep(self, key: yaml.Node, value: yaml.Node, loc: Loc) -> bool:
        line = key.start_mark.line + 1
        if key.tag == _MERGE:
            return True
        if key.tag != _TEXT:
            written = key.value if isinstance(key, yaml.ScalarNode) and key.value else "?"
            self.faults.append(((*loc, written), f"the key on line {line} is not text; put it in quotes"))
            return False
        key_loc = (*loc, str(key.value))
        if key_loc in self.lines:
            self.faults.append((key_loc, f"given twice, on lines {self.lines[key_loc]} and {line}; keep one"))
            return False
        self._enter(value, key_loc, line)
        return True

    def _enter(self, node: yaml.Node, loc: Loc, line: int) -> None:
        self.lines[loc] = line
        self.visit(node, loc)
