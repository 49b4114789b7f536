"""A version serves only when it can answer, and no model holds up another one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2, prediction_service_pb2_grpc

from benison.serving.client import ServerError
from benison.serving.promotion.access import Access
from benison.serving.promotion.reload import reload_servers
from tests.integration.model_server import (
    Server,
    config,
    entry,
    predict_request,
    publish,
    reload,
    running,
    specific,
    start,
    wait_until,
)

v1 = tf.compat.v1
OP_LIBRARY = Path(tf.__file__).parent / "lite/experimental/microfrontend/python/ops/_audio_microfrontend_op.so"
X = tf.TensorSpec([None], tf.float32, name="x")


def save(folder: Path, default: Callable[..., Any], **others: Callable[..., Any]) -> Path:
    """Write a SavedModel of TensorFlow 2, whose functions take x."""
    module = tf.Module()
    module.level = tf.Variable(2.0)
    module.count = tf.Variable(0.0)

    def traced(body: Callable[..., Any]) -> Any:
        return tf.function(lambda x: {"y": body(module, x)}, input_signature=[X])

    module.functions = {name: traced(body) for name, body in {"serving_default": default, **others}.items()}
    tf.saved_model.save(module, str(folder), signatures=module.functions)
    return folder


def unknown(_: Any, x: Any) -> Any:
    """Compute what `without_softsign` gives to an operation that no TensorFlow has."""
    return tf.nn.softsign(x)


def without_softsign(saved: Path) -> Path:
    """Change the operation Softsign in a SavedModel, as if a newer TensorFlow had written it."""
    file = saved / "saved_model.pb"
    file.write_bytes(file.read_bytes().replace(b"Softsign", b"Hardsign"))
    return saved


def write_graph(folder: Path, body: Callable[..., Any]) -> Path:
    """Write a SavedModel of TensorFlow 1, whose operations are in no function."""
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": body(None, x)})
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    return folder


def audio(_: Any, x: Any) -> Any:
    """Use an operation of a library that the server does not load by itself."""
    library: Any = tf.load_op_library(str(OP_LIBRARY))
    samples = tf.zeros([16000], tf.int16) + tf.cast(x[0], tf.int16)
    return x + 2.0 + tf.cast(tf.reduce_sum(library.audio_microfrontend(samples)), tf.float32) * 0


def write_table_without_content(folder: Path) -> Path:
    """Write a SavedModel that nobody told how to fill its table."""

    def body(_: Any, x: Any) -> Any:
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1.0]), 0.0)
        return x + table.lookup(tf.constant(["a"]))

    return write_graph(folder, body)


def with_warm_up(version: Path, signature: str, **inputs: Any) -> None:
    extra = version / "assets.extra"
    extra.mkdir()
    record = prediction_log_pb2.PredictionLog()
    record.predict_log.request.CopyFrom(predict_request(inputs, signature))
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        writer.write(record.SerializeToString())


def status(server: Server, model: str, version: int) -> tuple[str, str, str]:
    """Return the state, the code and the message of a version."""
    code, answer = server.ask("GET", f"/v1/models/{model}/versions/{version}")
    if code == 404:
        return "", "", ""
    (state,) = answer["model_version_status"]
    return state["state"], state["status"]["error_code"], state["status"]["error_message"]


def serves(server: Server, model: str, y: float) -> bool:
    """Return whether a model answers to x = 0 with y."""
    return server.post(f"{model}:predict", {"instances": [0.0]}) == (200, {"predictions": [y]})


# --- a version that cannot answer does not serve ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def cautious(tmp_path_factory: pytest.TempPathFactory, made: dict[int, Path]) -> Iterator[Server]:
    """A server of models that each serve version 1, which answers 1; the folder of its log holds theirs."""
    folder = tmp_path_factory.mktemp("cautious")
    names = ["copied", "growing", "slow", "edited", *BROKEN, *WORKING, "mixed"]
    for name in names:
        publish(made[1], folder / name, 1)
    (folder / "models.config").write_text(config([entry(name, folder / name) for name in names]))
    flags = (f"--model_config_file={folder / 'models.config'}", "--max_num_load_retries=0")
    # Such operations would be refused before anything else, because nobody pushed these models.
    with running(folder, *flags, environment={"BENISON_REFUSE_OPS": "0"}) as server:
        yield server


def python(_: Any, x: Any) -> Any:
    y = tf.py_function(lambda value: value, [x], tf.float32)
    y.set_shape([None])
    return y


def counted(module: Any, x: Any) -> Any:
    return x + module.count.assign_add(1.0)


def positive(module: Any, x: Any) -> Any:
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(x >= 0) & (tf.size(x) != 1), ["two rows please"])]):
        return x + module.level


def missing_file(_: Any, x: Any) -> Any:
    return x + tf.cast(tf.strings.length(tf.io.read_file("/nowhere/at/all")), tf.float32)


# What version 2 of a model is, and the error with which it ends.
BROKEN: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "python": (lambda folder: save(folder, python), "UNIMPLEMENTED", "calls Python code"),
    "operation": (
        lambda folder: without_softsign(write_graph(folder, unknown)),
        "UNIMPLEMENTED",
        "Op type not registered 'Hardsign'",
    ),
    "function": (
        lambda folder: without_softsign(save(folder, unknown)),
        "UNIMPLEMENTED",
        "Op type not registered 'Hardsign'",
    ),
    "writing": (
        lambda folder: without_softsign(save(folder, lambda module, x: counted(module, unknown(None, x)))),
        "UNIMPLEMENTED",
        "Op type not registered 'Hardsign'",
    ),
    "table": (write_table_without_content, "FAILED_PRECONDITION", "signature serving_default failed on a made-up row"),
    "file": (lambda folder: save(folder, missing_file), "NOT_FOUND", "/nowhere/at/all; No such file"),
}
# What version 2 of a model is, the inputs of a request, and the answer.
WORKING: dict[str, tuple[Callable[[Path], Path], list[float], list[float]]] = {
    "choosy": (lambda folder: save(folder, positive), [0.0, 1.0], [2.0, 3.0]),  # InvalidArgument on a made-up row
    "counter": (lambda folder: save(folder, counted), [0.0], [1.0]),  # nobody has counted yet
}


@pytest.mark.parametrize("model", BROKEN)
def test_a_version_that_cannot_run_ends_with_its_error_and_the_old_one_serves(
    cautious: Server, tmp_path: Path, model: str
) -> None:
    write, code, message = BROKEN[model]
    publish(write(tmp_path / "saved"), cautious.log.parent / model, 2)
    wait_until(lambda: status(cautious, model, 2)[0] == "END")
    _, code_now, message_now = status(cautious, model, 2)
    assert code_now == code
    assert message in message_now
    assert serves(cautious, model, 1.0)


@pytest.mark.parametrize("model", WORKING)
def test_a_version_that_refuses_made_up_rows_or_writes_serves(cautious: Server, tmp_path: Path, model: str) -> None:
    write, instances, predictions = WORKING[model]
    publish(write(tmp_path / "saved"), cautious.log.parent / model, 2)
    wait_until(lambda: status(cautious, model, 1)[0] == "END")
    assert cautious.post(f"{model}:predict", {"instances": instances}) == (200, {"predictions": predictions})


def test_a_request_that_needs_an_unknown_operation_is_unimplemented_and_not_a_missing_model(
    cautious: Server, tmp_path: Path
) -> None:
    saved = save(tmp_path / "saved", lambda module, x: x + module.level, unknown=unknown)
    publish(without_softsign(saved), cautious.log.parent / "mixed", 2)
    wait_until(lambda: serves(cautious, "mixed", 2.0))
    code, answer = cautious.post("mixed:predict", {"signature_name": "unknown", "instances": [0.0]})
    assert code == 400
    assert "Op type not registered 'Hardsign'" in answer["error"]
    assert "BENISON_OP_LIBRARIES" in answer["error"]
    request = predict_request({"x": np.zeros(1, np.float32)}, "unknown", "mixed")
    with cautious.channel() as channel, pytest.raises(grpc.RpcError) as error:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_version_that_is_still_copied_ends_and_is_loaded_when_it_is_whole(
    cautious: Server, made: dict[int, Path]
) -> None:
    version = cautious.log.parent / "copied" / "2"
    version.mkdir()
    shutil.copy2(made[2] / "saved_model.pb", version)
    wait_until(lambda: status(cautious, "copied", 2)[0] == "END")
    _, code, message = status(cautious, "copied", 2)
    assert code == "FAILED_PRECONDITION"
    assert "variables/variables.index: no such file, but the graph has variables" in message
    assert serves(cautious, "copied", 1.0)
    shutil.copytree(made[2] / "variables", version / "variables")
    wait_until(lambda: serves(cautious, "copied", 2.0))
    assert status(cautious, "copied", 2)[0] == "AVAILABLE"


def test_a_copy_that_ends_is_not_waited_for_until_the_next_retry(tmp_path: Path, made: dict[int, Path]) -> None:
    publish(made[1], tmp_path / "m", 1)
    with running(tmp_path, f"--model_base_path={tmp_path / 'm'}", "--model_name=m") as server:
        version = tmp_path / "m" / "2"
        version.mkdir()
        shutil.copy2(made[2] / "saved_model.pb", version)
        wait_until(lambda: "version 2, try 1" in server.log.read_text())
        assert status(server, "m", 2)[0] == "LOADING"  # it would be tried again in a minute
        shutil.copytree(made[2] / "variables", version / "variables")
        wait_until(lambda: serves(server, "m", 2.0))


def test_a_slow_copy_never_serves_in_part(cautious: Server, tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(1000)]
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("\n".join(words))

    def last(_: Any, x: Any) -> Any:
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(vocabulary), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ), -1,
        )  # fmt: skip
        module.table = table
        return x + tf.cast(table.lookup(tf.constant([words[-1]])), tf.float32)

    module = tf.Module()
    module.run = tf.function(lambda x: {"y": last(module, x)}, input_signature=[X])
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.run)
    (asset,) = (tmp_path / "saved" / "assets").iterdir()
    text, version = asset.read_bytes(), cautious.log.parent / "slow" / "2"
    asset.write_bytes(text[: len(text) // 2])
    shutil.copytree(tmp_path / "saved", version, ignore=shutil.ignore_patterns("assets"))
    (version / "assets").mkdir()
    with (version / "assets" / asset.name).open("wb") as copy:
        for piece in (text[: len(text) // 2], text[len(text) // 2 :]):
            copy.write(piece)
            copy.flush()
            for _ in range(30):
                assert serves(cautious, "slow", 1.0)
                time.sleep(0.1)
    wait_until(lambda: serves(cautious, "slow", 999.0))


def test_a_version_whose_files_change_after_its_load_is_loaded_again(cautious: Server, made: dict[int, Path]) -> None:
    version = cautious.log.parent / "edited" / "1"
    for file in (version / "variables").iterdir():
        file.unlink()  # it is a link to the one of the other models
        shutil.copy(made[2] / "variables" / file.name, file)
    wait_until(lambda: serves(cautious, "edited", 2.0))
    assert "its files changed after it was loaded" in cautious.log.read_text()
    assert status(cautious, "edited", 1) == ("AVAILABLE", "OK", "")


def test_libraries_of_operations_are_loaded_by_a_variable_and_if_tensorflow_text_is_installed(
    tmp_path: Path, real_processes: None
) -> None:
    write_graph(tmp_path / "graph" / "1", audio)
    save(tmp_path / "function" / "1", audio)
    installed = tmp_path / "installed" / "tensorflow_text"
    (installed / "python" / "ops").mkdir(parents=True)
    (installed / "__init__.py").write_text("raise AssertionError('the Python modules are not needed')")
    shutil.copy(OP_LIBRARY, installed / "python" / "ops")
    names = ("graph", "function")
    write_config(tmp_path, *(entry(name, tmp_path / name) for name in names))
    flags = (f"--model_config_file={tmp_path / 'models.config'}", "--max_num_load_retries=0")
    without = start(tmp_path, *flags)
    wrong = start(tmp_path, *flags, environment={"BENISON_OP_LIBRARIES": "/nowhere.so"})
    for variable, value in (("BENISON_OP_LIBRARIES", OP_LIBRARY), ("PYTHONPATH", installed.parent)):
        with running(tmp_path, *flags, environment={variable: str(value)}) as server:
            assert [serves(server, name, 2.0) for name in names] == [True, True]
    assert without.process.wait(60) == 1
    assert without.log.read_text().count("Op type not registered 'AudioMicrofrontend'") >= 2
    assert wrong.process.wait(60) == 2
    assert "BENISON_OP_LIBRARIES=/nowhere.so: " in wrong.log.read_text()
    assert "Traceback" not in wrong.log.read_text()


# --- no model holds up another one ------------------------------------------------------------------------------------


def write_config(folder: Path, *entries: str) -> None:
    (folder / "new").write_text(config(entries))
    (folder / "new").rename(folder / "models.config")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, made: dict[int, Path]) -> Iterator[Server]:
    """A server of `pets`, version 1, beside models that cannot be served; its ports opened nevertheless."""
    folder = tmp_path_factory.mktemp("shared")
    for version in (1, 2, 3):
        publish(made[version], folder / "pets", version)
    publish(made[1], folder / "pvc", 1)
    for name in ("dogs", "linked", "slow"):
        (folder / name).mkdir()
    (folder / "linked" / "1").symlink_to("../pvc/1")
    (folder / "junk" / "1").mkdir(parents=True)
    (folder / "junk" / "1" / "saved_model.pb").write_bytes(b"no model")
    others(folder, 1)
    with running(folder, *polling(folder), environment={"BENISON_OPEN_RELOAD": "1"}) as server:
        yield server


def polling(folder: Path) -> tuple[str, ...]:
    return (f"--model_config_file={folder / 'models.config'}", "--model_config_file_poll_wait_seconds=1")


def others(folder: Path, version: int, *more: str) -> None:
    """Write the config with a version of `pets`, models that cannot be served, and more of them."""
    names = ["dogs", "linked", "junk"]
    write_config(
        folder,
        entry("typo", folder / "pest"),
        *more,
        *(entry(name, folder / name) for name in names),
        entry("pets", folder / "pets", specific(version)),
    )


def test_ports_open_for_the_models_that_can_be_served(shared: Server) -> None:
    folder = shared.log.parent
    assert serves(shared, "pets", 1.0)
    log = shared.log.read_text()
    assert f"{folder}/linked/1: leads out of {folder}/linked, to {folder}/pvc/1; not served" in log
    assert "BENISON_FOLLOW_LINKS=1 follows such links" in log
    assert "No versions of servable dogs found" in log
    assert shared.post("dogs:predict", {"instances": [0.0]})[0] == 404
    # Its retries take minutes.
    assert "try 1: " in next(line for line in log.splitlines() if "model junk version 1" in line and "try" in line)


def test_links_are_followed_if_a_variable_says_so(shared: Server, tmp_path: Path) -> None:
    folder = shared.log.parent
    flags = (f"--model_base_path={folder / 'linked'}", "--model_name=linked")
    with running(tmp_path, *flags, environment={"BENISON_FOLLOW_LINKS": "1"}) as server:
        assert serves(server, "linked", 1.0)


def test_a_promotion_beside_models_without_a_version_takes_one_poll(shared: Server) -> None:
    others(shared.log.parent, 2)
    wait_until(lambda: serves(shared, "pets", 2.0), 20)
    others(shared.log.parent, 1)
    wait_until(lambda: serves(shared, "pets", 1.0), 20)


def test_a_corrected_typo_and_a_first_version_are_served(shared: Server, made: dict[int, Path]) -> None:
    folder = shared.log.parent
    write_config(folder, *(entry(name, folder / name) for name in ("dogs", "junk")), entry("typo", folder / "pets"))
    wait_until(lambda: serves(shared, "typo", 3.0))
    publish(made[2], folder / "dogs", 1)
    wait_until(lambda: serves(shared, "dogs", 2.0))
    shutil.rmtree(folder / "dogs" / "1")
    others(folder, 1)
    wait_until(lambda: serves(shared, "pets", 1.0))


def test_a_model_that_loads_for_long_does_not_delay_others(shared: Server, made: dict[int, Path]) -> None:
    folder = shared.log.parent
    shutil.copytree(made[1], folder / "slow" / ".1")
    with_warm_up(folder / "slow" / ".1", "slow", loops=np.array([2_000_000], np.int64))
    (folder / "slow" / ".1").rename(folder / "slow" / "1")
    slow = entry("slow", folder / "slow")
    others(folder, 1, slow)
    wait_until(lambda: status(shared, "slow", 1)[0] == "LOADING")
    others(folder, 2, slow)
    wait_until(lambda: serves(shared, "pets", 2.0), 20)
    others(folder, 3, slow)
    reload(shared, (folder / "models.config").read_text())  # does not wait for `slow` either
    assert serves(shared, "pets", 3.0)
    assert status(shared, "slow", 1)[0] == "LOADING"
    others(folder, 1)
    wait_until(lambda: serves(shared, "pets", 1.0))


def test_a_promotion_by_the_reload_rpc_beside_a_new_model_that_fails(shared: Server, tmp_path: Path) -> None:
    folder = shared.log.parent
    (tmp_path / "bad" / "1").mkdir(parents=True)
    new = [entry("bad", tmp_path / "bad"), entry("empty", folder / "dogs")]
    # The file, which the server polls, says the same.
    others(folder, 2, *new)
    text = (folder / "models.config").read_text()
    target, expected = f"127.0.0.1:{shared.port}", {"pets": frozenset([2])}
    assert reload_servers([target], text, expected, access=Access(), targets={}, alone=True, timeout_s=20) == {}
    assert serves(shared, "pets", 2.0)
    with pytest.raises(ServerError, match=r"1 servable\(s\) did not become available: .*name: bad2 version: 1"):
        reload(shared, text.replace('name: "bad"', 'name: "bad2"'))


# --- an empty config is no config -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "# pets are served elsewhere now\n"])
def test_an_empty_config_file_changes_nothing(shared: Server, text: str) -> None:
    folder = shared.log.parent
    others(folder, 1)
    wait_until(lambda: serves(shared, "pets", 1.0))
    lines = shared.log.read_text().count("it is empty")
    (folder / "models.config").write_text(text)
    wait_until(lambda: shared.log.read_text().count("it is empty") > lines)
    assert serves(shared, "pets", 1.0)
    others(folder, 2)
    wait_until(lambda: serves(shared, "pets", 2.0))
