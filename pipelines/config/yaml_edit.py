"""Change values in the text of a YAML file; its comments, its order and all other lines stay as they are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from benison.pipelines.config import strict_yaml
from benison.pipelines.config.nested import at, put
from benison.pipelines.config.strict_yaml import Loc

_COMMENT = re.compile(r"(   +)#")  # aligned with others, because there are more spaces than two


class NotEditable(ValueError):
    """A value that cannot be written without writing other parts of the file again."""


class _Dumper(yaml.SafeDumper):
    """Writes values that `strict_yaml` reads as what they are: the text `3e-4` gets quotes, for example."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.yaml_implicit_resolvers = strict_yaml.Loader.yaml_implicit_resolvers
# A text of several lines on one line, because a value is written into a line of the file.
_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\n" in text else None),
)


def edit(text: str, loc: Loc, value: Any) -> str:
    """Return the text with one value replaced or added.

    Args:
        text: a YAML file whose content is a mapping.
        loc: the keys (and list positions) that lead to the value; mappings that are missing on the way are added.
        value: plain data: mappings, lists, text, numbers, true/false, None.

    Raises:
        NotEditable: the value is written in a way that others share, such as an alias.
    """
    before = strict_yaml.parse(text).value
    for changed, new in _changes(at(before, loc, ...), loc, value):
        text = _edit(text, changed, new)
    if strict_yaml.parse(text).value != put(before, loc, value):
        raise NotEditable(f"{'.'.join(loc)}: cannot be written without changing other keys; edit the file by hand")
    return text


def _changes(old: Any, loc: Loc, new: Any) -> Iterator[tuple[Loc, Any]]:
    """Yield the smallest changes that turn one value into another; a key that goes needs its whole mapping written."""
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old and old.keys() <= new.keys():
        for key, value in new.items():
            yield from _changes(old.get(key, ...), (*loc, key), value)
    elif old is ... or old != new or type(old) is not type(new):
        yield loc, new


def _edit(text: str, loc: Loc, value: Any) -> str:
    node: Any = yaml.compose(text, Loader=strict_yaml.Loader)
    for depth, key in enumerate(loc):
        child = _child(node, key)
        if child is None:
            for missing in reversed(loc[depth + 1 :]):
                value = {missing: value}
            return _with_key(text, node, key, value)
        node = child
    return _with_value(text, node, value)


def _child(node: yaml.Node, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode):
        return node.value[int(key)]
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _with_value(text: str, node: yaml.Node, value: Any) -> str:
    start, end = node.start_mark.index, _end(node)
    before, after = text[:start], text[end:]
    if start == end:  # a key without a value
        before += " "
    elif before.rstrip().endswith(":"):  # a block begins on a line of its own; there may be a comment before it
        before = before.rstrip() + " "
    written = in_one_line(value)
    if "\n" not in text[start:end] and (comment := _COMMENT.match(after)):
        after = " " * max(2, len(comment[1]) + end - start - len(written)) + after.lstrip(" ")
    return f"{before}{written}{after}"


def _with_key(text: str, parent: yaml.Node, key: str, value: Any) -> str:
    entry = f"{in_one_line(key)}: {in_one_line(value)}"
    if not isinstance(parent, yaml.MappingNode) or (not parent.value and not parent.flow_style):
        return _with_value(text, parent, {key: value})  # a key that had no mapping yet
    if not parent.value:
        at = parent.start_mark.index + 1
        return f"{text[:at]}{entry}{text[at:]}"
    at = _end(parent.value[-1][1])
    if parent.flow_style:
        return f"{text[:at]}, {entry}{text[at:]}"
    end_of_line = text.find("\n", at - 1 if text[at - 1] == "\n" else at)
    at = len(text) if end_of_line < 0 else end_of_line
    newline = "\r\n" if "\r\n" in text else "\n"
    at -= text[at - 1] == "\r"
    return f"{text[:at]}{newline}{' ' * parent.value[0][0].start_mark.column}{entry}{text[at:]}"


def _end(node: yaml.Node) -> int:
    """Return where a value's text ends; the end that PyYAML gives of a block is the start of what follows it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    return int(node.end_mark.index)


def in_one_line(value: Any) -> str:
    """Return a value on one line, in a form that is right in a block and between braces."""
    text = yaml.dump(
        [value], Dumper=_Dumper, default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False
    )
    return str(text).rstrip("\n")[1:-1]
