"""A signature takes a faster route only if the answers are the same, and leaves it if it delays other requests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benison.serving import missing_values, vocabulary_lines
from benison.serving.server.batching import inline_policy, route_parity, routes
from benison.serving.server.batching.inline_policy import InlinePolicy
from benison.serving.server.batching.limits import BatchLimits
from benison.serving.server.batching.routes import Route
from benison.serving.server.batching.runner import Runner
from benison.serving.server.engine import LoadOptions, Signature, TensorSpec
from benison.serving.server.engines.saved_model import SessionEngine
from benison.serving.server.inference import Call

np_any: Any = np  # numpy's stubs do not let a scalar's class make an array

v1 = tf.compat.v1
LIMITS = BatchLimits()
WORDS = ("red", "green", "blue")


def _signature(inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    infos = [
        {name: v1.saved_model.build_tensor_info(t) for name, t in tensors.items()} for tensors in (inputs, outputs)
    ]
    return v1.saved_model.build_signature_def(*infos, "tensorflow/serving/predict")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with numbers, one of them a category, and text with a vocabulary."""
    base = tmp_path_factory.mktemp("model")
    vocabulary = base / "words"
    vocabulary.write_text("\n".join(WORDS) + "\n")
    with tf.Graph().as_default(), v1.Session() as session:
        x, z = (v1.placeholder(tf.float32, [None], name) for name in "xz")
        n = v1.placeholder(tf.int64, [None], "n")
        s = v1.placeholder(tf.string, [None], "s")
        wide = v1.placeholder(tf.float32, [None, 2], "wide")
        free = v1.placeholder(tf.float32, [None, None], "free")
        table = tf.lookup.StaticVocabularyTable(
            tf.lookup.TextFileInitializer(
                str(vocabulary),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            num_oov_buckets=1,
        )
        known = tf.where(tf.math.is_nan(x), -7.0 * tf.ones_like(x), x)
        score = known + 10 * z + tf.cast(n, tf.float32) / 3 + 100 * tf.cast(table.lookup(s), tf.float32)
        every = {"x": x, "z": z, "n": n, "s": s}
        loop = tf.while_loop(lambda i: i < tf.reduce_max(n), lambda i: i + 1, [tf.constant(0, tf.int64)])

        @tf.function
        def looping(n: tf.Tensor) -> tf.Tensor:
            return n + tf.while_loop(lambda i: i < tf.reduce_max(n), lambda i: i + 1, [tf.constant(0, tf.int64)])[0]

        signatures = {
            "raw": _signature(every, {"score": score, "class": tf.as_string(n)}),
            "picky": _signature(every, {"score": tf.gather(tf.range(8.0), tf.cast(n, tf.int32)) + x + z}),
            "wide": _signature({"wide": wide}, {"sum": tf.reduce_sum(wide, 1)}),
            "centred": _signature({"x": x, "z": z}, {"score": x - z - tf.reduce_mean(tf.where(z > 0, z, 0 * z))}),
            "total": _signature({"x": x}, {"total": tf.reduce_sum(x)}),
            "first": _signature({"x": x, "z": z}, {"first": (x + z)[:1]}),
            "loop": _signature({"n": n}, {"n": n + 0 * loop[0]}),
            "called": _signature({"n": n}, {"n": looping(n)}),
            "free": _signature({"free": free}, {"sum": tf.reduce_sum(free, 1)}),
            "half": _signature({"x": x}, {"half": tf.cast(x, tf.float16)}),
            "none": _signature({"s": s}, {"score": tf.strings.to_number(s + "!")}),
        }
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(base / "1"))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signatures,
            main_op=v1.tables_initializer(),
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
        )
        builder.save()
    return base / "1"


def described(engine: SessionEngine, folder: Path, limits: BatchLimits = LIMITS) -> dict[str, Any]:
    """Return the description of each signature on the status page."""
    return {name: route.describe() for name, route in routes.plan_routes(engine, str(folder), limits).items()}


@pytest.fixture(scope="module")
def plan(folder: Path) -> dict[str, Any]:
    return described(SessionEngine(str(folder), LoadOptions()), folder)


@pytest.mark.parametrize("name", ["raw", "picky", "centred"])  # the last one mixes the rows of a request
def test_a_signature_of_scalars_is_packed_and_runs_on_the_loop(plan, name):
    assert plan[name] == {"inputs": "packed", "runs": "inline"}


def test_a_signature_that_cannot_be_packed_may_still_run_on_the_loop(plan):
    assert plan["wide"] == {"inputs": "plain", "runs": "inline", "because": ["not packed: fewer than two inputs"]}
    why = "not packed: output first does not have one row per input row"
    assert plan["first"] == {"inputs": "plain", "runs": "inline", "because": [why]}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("total", "an input or output has no free first dimension"),
        ("loop", "StatelessWhile may take any time"),
        ("called", "StatelessWhile may take any time"),
        ("free", "input free has rows of variable size, or very large rows"),
        ("half", "half is of type float16"),
        ("none", "the model accepts only 0 of 16 probe rows"),
    ],
)
def test_the_status_says_why_a_signature_takes_the_plain_route(plan, name, why):
    assert plan[name] == {"inputs": "plain", "runs": "thread", "because": [f"not inline: {why}"]}


@pytest.mark.parametrize("limits", [replace(LIMITS, timeout=0.1), replace(LIMITS, threads=2)])
def test_batching_parameters_exclude_the_fast_route(folder, limits):
    plan = described(SessionEngine(str(folder), LoadOptions()), folder, limits)
    assert {route["runs"] for route in plan.values()} == {"thread"}


def swapped(numbers: np.ndarray) -> np.ndarray:
    return numbers[::-1].copy() if numbers.dtype == np.float32 else numbers


def known_word(texts: np.ndarray) -> np.ndarray:
    """Replace a word outside the vocabulary by the last word, as a converted model did."""
    if texts.dtype != object:
        return texts
    flat = [text if text in WORDS else WORDS[-1] for text in texts.ravel()]
    return np.array(flat, object).reshape(texts.shape)


def without_nan(numbers: np.ndarray) -> np.ndarray:
    return np.nan_to_num(numbers) if numbers.dtype == np.float32 else numbers


def no_minus(numbers: np.ndarray) -> np.ndarray:
    return np.maximum(numbers, 0) if numbers.dtype == np.int64 else numbers


def failing(numbers: np.ndarray) -> np.ndarray:
    raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("tamper", "why"),
    [
        (swapped, "output score differs"),
        (known_word, "output score differs"),
        (without_nan, "output score differs"),
        (no_minus, "output class differs"),
        (failing, "it fails: broken"),
    ],
)
def test_an_engine_with_wrong_answers_is_not_packed(folder, tamper, why):
    class Tampered(SessionEngine):
        def pack(self, signature: Signature, groups: Any) -> Callable[..., Any]:
            run = super().pack(signature, groups)
            return lambda arrays: run([tamper(array) for array in arrays])

    engine = Tampered(str(folder), LoadOptions())
    assert described(engine, folder)["raw"] == {
        "inputs": "plain",
        "runs": "inline",
        "because": [f"not packed: with packed inputs, {why}"],
    }


def test_an_engine_that_answers_rows_that_the_model_rejects_is_not_packed(folder):
    class Lenient(SessionEngine):
        def pack(self, signature: Signature, groups: Any) -> Callable[..., Any]:
            run = super().pack(signature, groups)
            return lambda arrays: run([np.clip(a, 0, 7) if a.dtype == np.int64 else a for a in arrays])

    plan = described(Lenient(str(folder), LoadOptions()), folder)
    assert plan["picky"]["because"] == ["not packed: with packed inputs, it answers a row that the plain route rejects"]


def _with_packed(folder: Path, order: str) -> Path:
    """Write a SavedModel with `raw` and `packed`, and the description that pairs them; the order is that of the graph."""
    with tf.Graph().as_default(), v1.Session() as session:
        s, *numbers = v1.placeholder(tf.string, [None], "s"), *(v1.placeholder(tf.float32, [None], n) for n in "xz")
        texts, packed = v1.placeholder(tf.string, [None, 1]), v1.placeholder(tf.float32, [None, 2])

        def score(s: Any, x: Any, z: Any) -> dict[str, Any]:
            return {"score": x - 2 * z, "text": s + "!"}

        unpacked = {name: packed[:, place] for place, name in enumerate(order)}
        signatures = {
            "raw": _signature(dict(zip("sxz", [s, *numbers], strict=True)), score(s, *numbers)),
            "packed": _signature({"string": texts, "float32": packed}, score(texts[:, 0], **unpacked)),
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    described = {name: (name, "string" if name == "s" else "float32", True) for name in "sxz"}
    missing_values.write(folder, missing_values.describe(described), {"string": ["s"], "float32": ["x", "z"]})
    return folder


@pytest.mark.parametrize(
    ("order", "route"),
    [
        ("xz", {"inputs": "packed", "runs": "inline"}),
        (
            "zx",
            {"inputs": "plain", "runs": "inline", "because": ["not packed: with packed inputs, output score differs"]},
        ),
    ],
)
def test_raw_is_packed_by_the_signature_packed_of_a_version_if_it_answers_the_same(tmp_path, order, route):
    model = _with_packed(tmp_path / "model", order)
    assert described(SessionEngine(str(model), LoadOptions()), model)["raw"] == route


@pytest.mark.parametrize(("threads", "runs"), [(1, "inline"), (2, "thread")])
def test_elapsed_time_counts_where_other_threads_may_do_the_work_of_a_run(folder, threads, runs):
    class Waits(SessionEngine):
        def run(self, *arguments: Any) -> Any:
            time.sleep(0.01)  # as if it waited for TensorFlow's threads or for the processor
            return super().run(*arguments)

    engine = Waits(str(folder), LoadOptions(intra_op_threads=threads))
    assert described(engine, folder)["raw"]["runs"] == runs


def test_a_slow_model_is_tried_only_until_it_has_shown_that(folder):
    class Slow(SessionEngine):
        runs = 0

        def run(self, *arguments: Any) -> Any:
            self.runs += 1
            until = time.thread_time() + 0.02
            while time.thread_time() < until:
                pass
            return super().run(*arguments)

    engine = Slow(str(folder), LoadOptions())
    (why,) = described(engine, folder)["raw"]["because"]
    assert why.startswith("not inline: one row takes ")
    assert engine.runs <= 3 * len(engine.signatures)


def test_nobody_waits_for_a_trial_that_hangs(folder):
    released = threading.Event()

    class Hangs(SessionEngine):
        def run(self, *arguments: Any) -> Any:
            released.wait()
            return super().run(*arguments)

    try:
        plan = described(Hangs(str(folder), LoadOptions()), folder)
    finally:
        released.set()
    assert plan["raw"]["because"] == ["not inline: the trials of this version at load took longer than 1.0 s"]
    assert {route["runs"] for route in plan.values()} == {"thread"}


def test_probe_rows_contain_values_that_models_fail_on(folder):
    signature = SessionEngine(str(folder), LoadOptions()).signatures["raw"]
    rows = route_parity.probe_rows(signature, str(folder), [{"x": 5.5, "z": 0.0, "n": 1, "s": "from warm-up"}])
    texts, numbers = {row["s"] for row in rows}, [row["x"] for row in rows]
    assert {"", *WORDS, "no vocabulary has this", "from warm-up"} <= texts
    assert any(np.isnan(numbers))
    assert {-1, 0} <= {row["n"] for row in rows}
    assert any(row["x"] != row["z"] for row in rows)


def test_probe_rows_have_values_of_several_columns_of_one_vocabulary(tmp_path):
    (tmp_path / "assets").mkdir()
    lines = vocabulary_lines.lines([[b"red", b"a:b"], [b"3-7"], []], [3, 1, 2])
    (tmp_path / "assets/categories.columns").write_bytes(b"\n".join(lines) + b"\n")
    signature = Signature("raw", "", {"s": TensorSpec("string", (-1,))}, {})
    texts = {row["s"] for row in route_parity.probe_rows(signature, str(tmp_path))}
    assert {"red", "a:b", "3-7"} <= texts
    assert not any(text.startswith(("0", "1:", "2-")) for text in texts - {"0"})


# --- runs on the loop, and off it -------------------------------------------------------------------------------------

X = TensorSpec("float32", (-1,))
DOUBLE = Signature("double", "", {"x": X}, {"y": X})


class Engine:
    """Doubles rows, records its threads, and keeps the processor busy for `work` seconds."""

    kind = "fake"
    parallel = True

    def __init__(self) -> None:
        self.signatures: Mapping[str, Signature] = {"double": DOUBLE}
        self.threads: list[int] = []
        self.sizes: list[int] = []
        self.work = 0.0

    def run(self, signature: Signature, inputs: Any, outputs: Any, seconds: int = 0) -> Any:
        self.threads.append(threading.get_ident())
        self.sizes.append(len(inputs["x"]))
        until = time.thread_time() + self.work
        while time.thread_time() < until:
            pass
        if (inputs["x"] == -1).any():
            raise ValueError("a bad row")
        return {"y": inputs["x"] * 2}

    def close(self) -> None: ...


def call(*rows: float) -> Call:
    return Call(DOUBLE, {"x": np_any.float32(rows)}, ("y",))


def on_a_loop(use: Callable[[Engine, Runner], Any], limits: BatchLimits = LIMITS) -> Any:
    """Use a runner whose only signature may run on the loop."""

    async def run() -> Any:
        engine = Engine()
        plan = {"double": Route(DOUBLE, InlinePolicy(inline=True))}
        runner = Runner(engine, limits, asyncio.get_running_loop(), "model m version 1", plan)
        try:
            return await use(engine, runner)
        finally:
            await asyncio.to_thread(runner.close)

    return asyncio.run(run())


def test_requests_that_have_arrived_share_a_run_on_the_loop():
    async def use(engine: Engine, runner: Runner) -> None:
        answers = await asyncio.gather(*(runner.submit(call(n, n)) for n in range(3)))
        assert [answer["y"].tolist() for answer in answers] == [[0, 0], [2, 2], [4, 4]]
        assert engine.threads == [threading.get_ident()]

    on_a_loop(use)


def test_the_loop_does_other_work_between_two_runs():
    async def use(engine: Engine, runner: Runner) -> None:
        first, *_, last = [runner.submit(call(n)) for n in range(6)]
        await first
        assert not last.done()
        await last
        assert engine.sizes == [2, 2, 2]

    on_a_loop(use, BatchLimits(max_rows=2))


def test_a_bad_row_fails_only_its_own_request():
    async def use(engine: Engine, runner: Runner) -> list[Any]:
        return await asyncio.gather(*(runner.submit(call(x)) for x in (1, -1, 2)), return_exceptions=True)

    first, bad, last = on_a_loop(use)
    assert (first["y"].tolist(), str(bad), last["y"].tolist()) == ([2], "a bad row", [4])


def test_cancelled_and_expired_requests_are_not_run():
    async def use(engine: Engine, runner: Runner) -> None:
        gone, late, kept = runner.submit(call(1)), runner.submit(call(2), deadline=0.0), runner.submit(call(3))
        gone.cancel()
        assert (await kept)["y"].tolist() == [6]
        assert "Timed out" in str(late.exception())
        assert engine.sizes == [1]

    on_a_loop(use)


def test_a_request_larger_than_a_run_goes_to_a_thread():
    async def use(engine: Engine, runner: Runner) -> None:
        await runner.submit(call(1, 2, 3))
        assert engine.threads != [threading.get_ident()]

    on_a_loop(use, BatchLimits(max_rows=2))


def test_a_slow_model_leaves_the_loop_and_returns_when_it_is_fast_again():
    async def use(engine: Engine, runner: Runner) -> None:
        here = threading.get_ident()
        engine.work = 1.5 * inline_policy.MAX_RUN_SECONDS
        await runner.submit(call(1))
        assert engine.threads.pop() == here
        await runner.submit(call(1))
        assert engine.threads.pop() != here
        engine.work = 0.0
        while (await runner.submit(call(1))) and engine.threads[-1] != here:
            assert len(engine.threads) < 10_000

    on_a_loop(use)


def test_closing_a_version_answers_the_requests_that_wait_for_the_loop():
    async def run() -> Any:
        plan = {"double": Route(DOUBLE, InlinePolicy(inline=True))}
        runner = Runner(Engine(), LIMITS, asyncio.get_running_loop(), "model m version 1", plan)
        future = runner.submit(call(1))
        runner.close()
        return await future

    assert asyncio.run(run())["y"].tolist() == [2]


def test_each_return_to_the_loop_takes_twice_as_many_short_runs():
    signature = InlinePolicy(inline=True)

    def short_runs() -> int:
        signature.record(0.0, 2 * inline_policy.MAX_RUN_SECONDS)
        count = 0
        while not signature.inline:
            signature.record(0.0, 0.0)
            count += 1
        return count

    assert [short_runs() for _ in range(3)] == [64, 128, 256]
    assert signature.moves == 3


def test_a_signature_that_must_not_run_inline_never_moves_to_the_loop():
    signature = InlinePolicy(inline=False)
    for _ in range(1000):
        signature.record(0.0, 0.0)
    assert not signature.inline


def test_a_run_that_blocks_leaves_the_loop_even_if_it_uses_no_cpu_time():
    signature = InlinePolicy(inline=True)
    signature.record(inline_policy.MAX_RUN_SECONDS * 2, 0.0)
    assert signature.inline
    signature.record(1.0, 0.0)
    assert not signature.inline


def test_elapsed_time_counts_if_a_run_uses_several_threads():
    signature = InlinePolicy(inline=True, single_threaded=False)
    signature.record(inline_policy.MAX_RUN_SECONDS * 2, 0.0)
    assert not signature.inline
