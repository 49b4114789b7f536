"""HTML from nested calls. Text is always escaped: names of models and columns are other people's."""

from __future__ import annotations

from html import escape
from typing import Union

_EMPTY = frozenset(["br", "input", "link", "meta"])  # elements without an end tag


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = Union[str, None, "list[Markup]"]


def element(tag: str, *children: Child, **attributes: str | bool | None) -> Markup:
    """An element.

    Args:
        tag: its name.
        children: text, elements, lists of elements; None is left out.
        attributes: by name, `class_` for `class` and `_` for `-`; False and None are left out.
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    opened = f"<{tag}{written}>"
    return Markup(opened if tag in _EMPTY else f"{opened}{joined(*children)}</{tag}>")


def joined(*children: Child) -> Markup:
    """Children without an element around them."""
    return Markup("".join(_child(child) for child in children))


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, list):
        return "".join(child)
    return child if isinstance(child, Markup) else escape(child)


def _attribute(name: str, value: str | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(value)}"'
