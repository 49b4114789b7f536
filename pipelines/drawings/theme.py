"""Colours and the style sheet of drawings, in light and dark.

A chart names colours as CSS variables, so that it follows the theme of the page without being drawn again. The same
model has the same colour in every chart of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_MEMBERS = 8  # colours for members; a ninth has the first one again
ACCENT, MUTED, LINE, TEXT = "var(--accent)", "var(--muted)", "var(--line)", "var(--text)"
GOOD, BAD, WARN = "var(--good)", "var(--bad)", "var(--warn)"
STATES = {"passed": GOOD, "warning": WARN, "refused": BAD}
ENSEMBLE, SERVED = "ensemble", "served"


def style() -> str:
    """Return the style sheet."""
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def script() -> str:
    """Return the script of pages and fragments, which draws charts when they come into view and sorts tables."""
    return (Path(__file__).parent / "page.js").read_text(encoding="utf-8")


def model_colors(models: Sequence[str]) -> dict[str, str]:
    """Return the colour of each model.

    Args:
        models: all models of the run, in the run's order, so that each drawing gives a model the same colour.
    """
    members = [name for name in models if name not in (ENSEMBLE, SERVED)]
    colors = {name: f"var(--series-{number % _MEMBERS})" for number, name in enumerate(members)}
    return {name: colors.get(name, f"var(--{name})") for name in models}


def split_colors(splits: Sequence[str]) -> dict[str, str]:
    """Return the colour of each split."""
    known = ("train", "valid", "blend", "test")
    places = [known.index(s) if s in known else len(known) + n for n, s in enumerate(splits)]
    return {
        split: "var(--muted)" if split == EARLIER else f"var(--series-{place % _MEMBERS})"
        for split, place in zip(splits, places, strict=True)
    }


EARLIER = "served version learnt from"
