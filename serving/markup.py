"""HTML from nested function calls. Text is always escaped, because names of models and columns are untrusted."""

from __future__ import annotations

from html import escape
from typing import Union

_EMPTY = frozenset(["br", "input", "link", "meta"])  # elements without an end tag


class Markup(str):
    """Text that is already HTML."""

    __slots__ = ()


Child = Union[str, None, "list[Markup]"]


def element(tag: str, *children: Child, **attributes: str | bool | None) -> Markup:
    """Return an element.

    Args:
        tag: name of the element.
        children: text, elements and lists of elements; None is skipped.
        attributes: values by name, with `class_` for `class` and `_` for `-`; False and None are skipped.
    """
    start = f"<{tag}{''.join(_attribute(name, value) for name, value in attributes.items())}>"
    return Markup(start if tag in _EMPTY else f"{start}{joined(*children)}</{tag}>")


def joined(*children: Child) -> Markup:
    """Return children without an element around them."""
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
