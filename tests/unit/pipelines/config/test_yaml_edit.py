"""A changed value is written into a YAML whose other lines, comments and order stay."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benison.pipelines.config import strict_yaml
from benison.pipelines.config.nested import put
from benison.pipelines.config.yaml_edit import NotEditable, edit

PROJECT = """\
# birds
name: birds
data: {csv: a.csv, missing: ["", NA]}   # as exported
empty:
none: {}
members:
  linear:
    epochs: 60        # at most
    rates: {rate: 0.1}    # of Adam
  # the last one
  deep:
rules:                # all must hold
  - {metric: auc, min: 0.7}
  - metric: accuracy
    min: 0.8
note: |
  two
  lines
"""


@pytest.mark.parametrize(
    ("loc", "value", "before", "after"),
    [
        ("members.linear.epochs", 7, "epochs: 60        # at most", "epochs: 7         # at most"),
        ("members.linear.epochs", 1000000000000, "60        # at most", "1000000000000  # at most"),
        ("members.linear.rates.rate", 0.25, "{rate: 0.1}    # of", "{rate: 0.25}    # of"),
        ("members.linear.rates.decay", 1, "{rate: 0.1}    #", "{rate: 0.1, decay: 1}    #"),
        ("members.linear.patience", 2, "# of Adam\n", "# of Adam\n    patience: 2\n"),
        ("members.deep", {"epochs": 3}, "  deep:\n", "  deep: {epochs: 3}\n"),
        ("members.deep.epochs", 3, "  deep:\n", "  deep: {epochs: 3}\n"),
        ("members.wide.epochs", 3, "  deep:\n", "  deep:\n  wide: {epochs: 3}\n"),
        ("empty.a", None, "empty:\n", "empty: {a: null}\n"),
        ("none.a", "3e-4", "none: {}", "none: {a: '3e-4'}"),
        ("rules.1.min", 0.9, "min: 0.8", "min: 0.9"),
        ("rules.0.max", 0.9, "min: 0.7}", "min: 0.7, max: 0.9}"),
        ("rules.1.max", 0.9, "min: 0.8\n", "min: 0.8\n    max: 0.9\n"),
        ("data.missing", ["?, x"], '["", NA]}   #', "['?, x']}   #"),
        ("note", "one", "|\n  two\n  lines\n", "one\n"),
        ("last", "on", "  lines\n", "  lines\nlast: 'on'\n"),
    ],
)
def test_only_the_changed_value_differs(loc: str, value: object, before: str, after: str) -> None:
    assert PROJECT.count(before) == 1
    assert edit(PROJECT, tuple(loc.split(".")), value).rstrip() == PROJECT.replace(before, after).rstrip()


def test_a_comment_in_front_of_a_replaced_block_stays() -> None:
    assert "rules:                # all must hold\n  []\nnote" in edit(PROJECT, ("rules",), [])


def test_an_equal_value_changes_nothing_and_a_mapping_changes_only_what_differs() -> None:
    assert edit(PROJECT, ("seed",), 3) == PROJECT + "seed: 3\n"
    assert edit(PROJECT, ("name",), "birds") == PROJECT
    assert edit(PROJECT, ("members", "linear"), {"epochs": 61, "rates": {"rate": 0.1}}) == PROJECT.replace("60", "61")


def test_the_ends_of_lines_stay() -> None:
    assert edit("a: 1\r\nb: 2\r\n", ("c",), 3) == "a: 1\r\nb: 2\r\nc: 3\r\n"


def test_a_value_that_an_alias_shares_is_refused() -> None:
    with pytest.raises(NotEditable, match=r"^a\.k: cannot be written without changing other keys; edit the file"):
        edit("x: &x {k: 1}\na: *x\n", ("a", "k"), 3)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
KEYS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=5)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=3), st.lists(KEYS, min_size=1, max_size=3), VALUES, st.data())
def test_any_value_comes_back_from_any_place(content: dict, loc: list[str], value: object, data: st.DataObject) -> None:
    style = data.draw(st.sampled_from([True, False, None]))
    text = yaml.dump(content, default_flow_style=style, allow_unicode=True)
    if strict_yaml.parse(text).value != content:  # PyYAML writes 3e-4 as a text without quotes
        return
    try:
        expected = put(content, tuple(loc), value)
    except ValueError:  # a value on the way is no mapping
        return
    assert strict_yaml.parse(edit(text, tuple(loc), value)).value == expected
