"""A loaded version shows that it can answer before it serves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benison.serving.server.engine import LoadOptions, Signature, Tensors, TensorSpec
from benison.serving.server.engines import readiness
from benison.serving.server.engines.saved_model import SessionEngine
from benison.serving.server.status import Code, RequestError

X = TensorSpec("float32", (-1, 2), "x:0")


def signature(name: str = "serving_default", **more: Any) -> Signature:
    fields = {"inputs": {"x": X}, "outputs": {"y": TensorSpec("float32", (-1,), "y:0")}, **more}
    return Signature(name, "tensorflow/serving/predict", **fields)


class FakeEngine:
    """An engine that records its runs."""

    kind = "fake"
    parallel = True

    def __init__(self, *signatures: Signature, run: Callable[[Signature], Any] = lambda _: None) -> None:
        self.signatures: Mapping[str, Signature] = {each.name: each for each in signatures}
        self.runs: list[tuple[str, Tensors]] = []
        self._run = run

    def run(self, signature: Signature, inputs: Tensors, outputs: Any, seconds: int = 0) -> Any:
        self.runs.append((signature.name, inputs))
        return self._run(signature)

    def close(self) -> None:
        pass


def failing(code: Code, *names: str) -> Callable[[Signature], None]:
    def run(each: Signature) -> None:
        if not names or each.name in names:
            raise RequestError(code, "as asked")

    return run


def test_the_default_signature_runs_once_on_made_up_values_of_its_shapes() -> None:
    specs = {
        "x": X,
        "text": TensorSpec("string", (-1,), "t:0"),
        "any": TensorSpec("int64", None, "a:0"),
        "given": TensorSpec("float32", (), "g:0"),
    }
    engine = FakeEngine(signature("a"), signature(inputs=specs, defaults={"given": np.float32(7)}))
    readiness.check(engine, "/m/1")
    ((name, inputs),) = engine.runs
    assert name == "serving_default"
    assert {key: (value.shape, value.dtype, value.tolist()) for key, value in inputs.items()} == {
        "x": ((1, 2), np.float32, [[0.0, 0.0]]),
        "text": ((1,), object, [b""]),
        "any": ((1,), np.int64, [0]),
        "given": ((), np.float32, 7.0),
    }


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE])
def test_a_made_up_row_may_be_refused_if_all_operations_can_run(code: Code) -> None:
    readiness.check(FakeEngine(signature(), run=failing(code)), "/m/1")
    with pytest.raises(RequestError, match="signature serving_default: X is missing") as error:
        readiness.check(FakeEngine(signature(cannot_run="X is missing"), run=failing(code)), "/m/1")
    assert error.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("code", [Code.UNIMPLEMENTED, Code.NOT_FOUND, Code.FAILED_PRECONDITION, Code.INTERNAL])
def test_any_other_error_fails_the_load_with_its_code(code: Code) -> None:
    with pytest.raises(RequestError, match="signature serving_default failed on a made-up row: as asked") as error:
        readiness.check(FakeEngine(signature(), signature("a"), run=failing(code, "serving_default")), "/m/1")
    assert error.value.code is code


def test_a_file_that_a_request_names_need_not_exist_yet() -> None:
    def run(_: Signature) -> None:
        raise RequestError(Code.NOT_FOUND, "; No such file or directory\n\t [[{{node ReadFile}}]]")

    readiness.check(FakeEngine(signature(), run=run), "/m/1")


def test_without_a_default_signature_any_other_one_may_run() -> None:
    engine = FakeEngine(signature("a"), signature("b"), run=failing(Code.NOT_FOUND, "a"))
    readiness.check(engine, "/m/1")
    assert [name for name, _ in engine.runs] == ["a", "b"]
    with pytest.raises(RequestError, match="signature a failed"):
        readiness.check(FakeEngine(signature("a"), signature("b"), run=failing(Code.NOT_FOUND)), "/m/1")


def test_a_signature_that_writes_is_not_run_but_needs_its_operations() -> None:
    engine = FakeEngine(signature(writes="AssignAddVariableOp a"))
    readiness.check(engine, "/m/1")
    assert engine.runs == []
    with pytest.raises(RequestError, match="X is missing"):
        readiness.check(FakeEngine(signature(writes="X x", cannot_run="X is missing")), "/m/1")


def test_signatures_that_no_request_can_use_are_not_tried() -> None:
    operation = {"init": TensorSpec("invalid", None, "init")}
    engine = FakeEngine(
        signature("__saved_model_init_op", inputs={}, outputs=operation),
        signature("sparse", inputs={"x": TensorSpec("float32", (-1,), "")}),
    )
    readiness.check(engine, "/m/1")
    assert engine.runs == []


def test_a_run_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(readiness, "_LIMIT_SECONDS", 0.01)
    over = threading.Event()
    engine = FakeEngine(signature(), run=lambda _: over.wait(10))
    readiness.check(engine, "/m/1")
    assert "/m/1: signature serving_default runs for more than 0.01 s on one made-up row" in caplog.text
    over.set()


def test_a_loop_that_a_made_up_row_never_ends_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(readiness, "_LIMIT_SECONDS", 0.01)
    monkeypatch.setattr(readiness, "_STOP_SECONDS", 1)
    module = tf.Module()
    module.run = tf.function(
        lambda x: {"y": x + tf.while_loop(lambda i: i < 1.0, lambda i: i + tf.reduce_max(x), [0.0])[0]},
        input_signature=[tf.TensorSpec([None], tf.float32, name="x")],
    )
    tf.saved_model.save(module, str(tmp_path), signatures=module.run)
    engine = SessionEngine(str(tmp_path), LoadOptions())
    before = set(threading.enumerate())
    readiness.check(engine, "/m/1")
    assert "runs for more than 0.01 s on one made-up row" in caplog.text
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()
    engine.close()
