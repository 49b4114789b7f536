"""Text of users is printed without what controls a terminal."""

from __future__ import annotations

import pytest

from benison.serving.visible_text import visible, visible_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("done\rfailed", r"done\rfailed"),
        ("abc\x08\x7f\x00", r"abc\x08\x7f\x00"),
        ("price\u202ecsv.exe", r"price\u202ecsv.exe"),
        ("\ufeffid", r"\ufeffid"),
        ("caf\udce9.csv", r"caf\udce9.csv"),
        ("a\U000e0041", r"a\U000e0041"),
    ],
)
def test_what_controls_a_terminal_becomes_an_escape(text: str, shown: str) -> None:
    assert visible(text) == visible_line(text) == shown


@pytest.mark.parametrize("text", ["größe", "цена", "価格", "می\u200cخواهم", "👩\u200d🔬", "a b", "[red]", "\\x1b"])
def test_letters_of_every_script_stay(text: str) -> None:
    assert visible(text) == visible_line(text) == text


def test_line_breaks_and_tabs_stay_in_a_text_but_not_on_a_line() -> None:
    assert visible("a\n\tb") == "a\n\tb"
    assert visible_line("a\n\tb") == r"a\n\tb"
