"""The reason of a failed node names the fault, and ends with the user's own file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benison.components import user_code, users_line
from benison.pipelines.running.node_result import reason_of

CODE = """
import keras
import tensorflow as tf

def plain(x):
    return {}["x"]

def traced(x):
    total = tf.reduce_sum(x)
    x = {"a": total}["nokey"]
    return x

def graph(x):
    return tf.strings.to_number(tf.constant("heavy"))

class Odd(keras.layers.Layer):
    def call(self, x, training=False):
        return helper(x) if training else x

def helper(x):
    return tf.reshape(x, [3, 5, 7])

def fit(x):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1)(Odd()(inputs)))
    model.compile("adam", "mse")
    return model.fit(tf.zeros([8, 4]), tf.zeros(8), verbose=0)
"""


@pytest.fixture(name="users")
def _users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return lambda name: user_code.load(f"{tmp_path / 'mine.py'}:{name}")


@pytest.mark.parametrize(
    ("name", "wrap", "fault", "line"),
    [
        ("plain", False, "KeyError: 'x'", 6),
        ("traced", True, "KeyError: 'nokey'", 10),
        ("graph", True, "InvalidArgumentError: StringToNumberOp could not correctly convert string: heavy", 14),
        ("fit", False, "ValueError: Dimension size must be evenly divisible by 4 but is 105", 21),
    ],
)
def test_the_reason_ends_with_the_users_line(
    users: Callable[[str], Any], name: str, wrap: bool, fault: str, line: int
) -> None:
    function = tf.function(users(name)) if wrap else users(name)
    with pytest.raises(Exception) as raised:  # noqa: PT011
        function(tf.constant(np.ones(3, np.float32)))
    reason = reason_of(raised.value)
    assert reason.startswith(fault)
    assert reason.endswith(f" (mine.py, line {line})")
    assert "\n" not in reason


def test_the_cause_counts_more_than_what_wraps_it(users: Callable[[str], Any]) -> None:
    wrapped = RuntimeError("could not run nodes.f_Executor")
    with pytest.raises(KeyError) as raised:
        users("plain")(1)
    wrapped.__cause__ = raised.value
    assert reason_of(wrapped) == "RuntimeError: could not run nodes.f_Executor (KeyError: 'x') (mine.py, line 6)"


def test_an_error_of_a_library_alone_has_no_place() -> None:
    assert users_line.place_in('File "' + np.__file__ + '", line 3, in x') == ""
