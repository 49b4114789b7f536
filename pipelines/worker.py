"""The process that runs one node after another: it imports TensorFlow once, and each node runs in a fork of it.

So a node finds nothing that an earlier node has left in its process, such as seeds, the state of a user's module, or
names that Keras has counted.

The process reads requests as JSON lines on stdin and writes answers as JSON lines on its original stdout. While a node
runs, file descriptors 1 and 2 point to the node's log, so that the log also holds the output of C++ code.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from benison.components import legacy_keras, processes
from benison.pipelines.code import packages
from benison.pipelines.quiet import quieten
from benison.pipelines.records import temporary
from benison.pipelines.running import forked, timing
from benison.pipelines.running.live_log import open_log
from benison.pipelines.running.node_result import failed_result
from benison.pipelines.visible_streams import show_control_characters
from benison.serving import errors
from benison.serving.errors import BenisonError, NodeFailed
from benison.serving.files import system_errors

if TYPE_CHECKING:
    from benison.pipelines.node import Code

# What every node imports, and what many import: known to survive a fork, and to keep no state that a node could find.
_EVERY = (
    "keras",
    "tfx.orchestration.portable.launcher",
    "benison.pipelines.node",
    "benison.pipelines.running.executor_operators",
)
_MANY = (
    "tensorflow_transform",
    "tensorflow_data_validation",
    "keras_tuner",
    "tfx.components.statistics_gen.executor",
    "tfx.components.transform.executor",
    "tfx.components.trainer.executor",
)
_TRIAL = ("keras", "keras_tuner", "tensorflow_transform", "tensorflow_transform.beam")
_PATIENCE_S = 1.0  # between SIGTERM and SIGKILL; shorter than the runner's
_used: set[str] = set()  # of these, what a node has imported


def main() -> None:
    """Serve requests until stdin is closed, which also happens when the runner dies."""
    gc.disable()  # a fifth of the time of the imports, which leave no garbage; the forks collect theirs
    _end_with_runner()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    requests = os.fdopen(os.dup(0), "r")
    # A node that reads stdin must not consume a request, and a node's output must not be taken for an answer.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    show_control_characters()
    with temporary.use(Path(tempfile.gettempdir())):
        for line in requests:
            request = json.loads(line)
            with _logging_to(Path(request["log"])):
                answer = _answer(request)
            _send(answers, answer)
            _import(_used)  # the next node of this kind finds them imported
    _end()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        quieten()
        legacy_keras.settle_keras()
        return {"ok": _OPERATIONS[request["operation"]](request)}
    except BenisonError as error:
        return {"error": str(error), "kind": type(error).__name__}
    except Exception as error:
        traceback.print_exc()
        reason = system_errors.machine_failure(error) or f"{type(error).__name__}: {error}"
        return {"error": reason, "kind": "NodeFailed"}


def _compile(request: dict[str, Any]) -> dict[str, Any]:
    """Compile a pipeline, and meanwhile try the user's code if the request has a trial (see `_begin_trial`).

    Returns:
        `compiled`, with a trial also `trial`; only the latter if the code has mistakes, which come before all others.
    """
    if "trial" not in request:
        return {"compiled": _compiled(request)}
    trial = _begin_trial(request["trial"])
    compiled: dict[str, Any] = {}
    error = None
    if request["config"]["data"]["source"] is None:  # else a function of the user runs, which waits for the trial
        try:
            compiled = _compiled(request)
        except Exception as first:
            error = first
    tried = _end_trial(trial, request["trial"])
    if tried["mistakes"]:
        return {"trial": tried}
    if error is not None:
        raise error
    return {"trial": tried, "compiled": compiled or _compiled(request)}


def _compiled(request: dict[str, Any]) -> dict[str, Any]:
    """Build and compile a pipeline from its config, with the nodes that ingest earlier spans."""
    from benison.pipelines.compilation import compiling
    from benison.pipelines.config import Pipeline

    config = Pipeline.model_validate(request["config"])
    ir, root, span = Path(request["ir"]), Path(request["root"]), request["span"]
    if config.data.source is not None:
        _in_fork({**request, "operation": "write_source"})
    if request["only_ingest"]:
        return compiling.ingest_for_run(config, root, ir, span).to_json()
    return compiling.for_run(config, root, ir, span).to_json()


def _write_source(request: dict[str, Any]) -> dict[str, Any]:
    """Let the user's function write the data files of a pipeline, unless it has written them."""
    from benison.pipelines.config import Pipeline
    from benison.pipelines.data import sources

    sources.files_pattern(Pipeline.model_validate(request["config"]), Path(request["root"]))
    return {}


def _in_fork(request: dict[str, Any]) -> dict[str, Any]:
    """Do in a fork what runs code of the user.

    If it ran an operation of TensorFlow in this process, TensorFlow's threads would be missing in all later forks, and
    a node there would wait for them forever.
    """
    answer = forked.call(lambda: _answer(request))
    if answer.reason:
        raise NodeFailed(answer.reason)
    if "error" in answer.value:
        raise getattr(errors, answer.value["kind"], NodeFailed)(answer.value["error"])
    return dict(answer.value["ok"])


def _tidy(request: dict[str, Any]) -> dict[str, Any]:
    """Clean up after killed runs of a pipeline."""
    from benison.pipelines import node
    from benison.pipelines.records import lineage, metadata_store

    pipeline, root = node.load_ir(Path(request["ir"]), request["run_id"], {}), Path(request["root"])
    metadata_store.make_tables(metadata_store.of_pipeline(pipeline, root), root)
    return {"abandoned": lineage.abandon_unfinished(pipeline, root)}


def _run(request: dict[str, Any]) -> dict[str, Any]:
    timing.begin()
    with timing.phase(timing.IMPORTS):
        _import(_EVERY)
    with timing.phase(timing.CODE):
        packages.distributions()  # before the fork: each node's cache key needs them
        code = _code(request)
    answer = forked.call(lambda: _run_here(request, code))
    processes.end_descendants(_PATIENCE_S)  # those that the node has left behind
    if answer.reason:
        raise NodeFailed(answer.reason)
    result, used, profile = answer.value
    _used.update(used)
    return {**result, "functions": code.functions if code else None, "profile": profile}


def _warm_up(request: dict[str, Any]) -> dict[str, Any]:
    """Import what every node needs."""
    _import(_EVERY)
    packages.distributions()
    return {}


def _code(request: dict[str, Any]) -> Code | None:
    """Read a node's code before the fork, so that a file is parsed once and not for each node."""
    from benison.pipelines import node

    try:
        return node.code_of(node.load_ir(Path(request["ir"]), request["run_id"], {}), request["node"])
    except BenisonError:
        return None  # the node fails with this error


def _run_here(request: dict[str, Any], code: Code | None) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """Run a node in this process, which ends afterwards.

    Returns:
        Its result; what it has imported of `_MANY`; where its time went.
    """
    import numpy as np

    from benison.pipelines import node
    from benison.pipelines.running.node_cache import Taking

    np.random.seed()  # a fork has its parent's seed
    root = Path(request["root"])
    try:
        result = node.run(
            Path(request["ir"]),
            request["node"],
            request["run_id"],
            root=root,
            cache=request["cache"],
            code=code,
            taking=Taking(**request["taking"]) if request["taking"] else None,
        )
    except Exception as error:  # ML Metadata could not be read or written
        traceback.print_exc()
        result = failed_result(error)
    profile = {"phases": timing.measured(), **timing.resources()}
    return asdict(result), [name for name in _MANY if name in sys.modules], profile


def _import(names: Iterable[str]) -> None:
    for name in names:
        importlib.import_module(name)
    quieten()  # the imports set levels of their own


def _try_code(request: dict[str, Any]) -> dict[str, Any]:
    """Try the user's code, see `_begin_trial`."""
    return _end_trial(_begin_trial(request), request)


def _begin_trial(request: dict[str, Any]) -> forked.Fork:
    """Begin to try the user's code in a fork, see `benison.components.train.dry_run`.

    A fork has TensorFlow already, leaves nothing behind in this process, and can be ended when it takes too long.

    Args:
        request: `project`, fields of `dry_run.Project`; `log`; and `seconds`, the longest time.
    """
    from benison.components.evaluate import own_metrics
    from benison.components.train import dry_run
    from benison.components.tuning import own_tuner

    _import(_TRIAL)  # before the fork: the nodes need them too
    project = dry_run.Project(**request["project"])

    def mistakes() -> list[str]:
        with _logging_to(Path(request["log"])):
            return [*dry_run.mistakes(project), *own_metrics.mistakes(project), *own_tuner.mistakes(project)]

    return forked.Fork(mistakes)


def _end_trial(trial: forked.Fork, request: dict[str, Any]) -> dict[str, Any]:
    result = trial.result(request["seconds"])
    return {"mistakes": result.value or [], "unfinished": result.reason}


def _first_rows(request: dict[str, Any]) -> dict[str, Any]:
    """Read the first rows of examples in a fork, because TensorFlow reads them."""
    from benison.pipelines.running import first_rows

    _import(["tensorflow_transform"])  # before the fork, for the next one
    graph = Path(request["graph"]) if request["graph"] else None
    folder, split, count = Path(request["examples"]), request["split"], request["count"]
    return dict(_value(forked.call(lambda: first_rows.read(folder, split, count, graph))))


def _evaluation(request: dict[str, Any]) -> dict[str, Any]:
    """Read the metrics of TFX's Evaluator in a fork."""
    from benison.pipelines.running import evaluations

    return {"rows": _value(forked.call(lambda: evaluations.read(Path(request["folder"]))))}


def _value(result: forked.ForkResult) -> Any:
    if result.reason:
        raise NodeFailed(result.reason)
    return result.value


_OPERATIONS = {
    "first_rows": _first_rows,
    "evaluation": _evaluation,
    "compile": _compile,
    "write_source": _write_source,
    "tidy": _tidy,
    "warm_up": _warm_up,
    "run": _run,
    "try_code": _try_code,
}


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    originals = os.dup(1), os.dup(2)
    log = open_log(path)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for target, saved in zip((1, 2), originals, strict=True):
            os.dup2(saved, target)
            os.close(saved)
        os.close(log)


def _send(stream: TextIO, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()


def _end_with_runner() -> None:
    """End on SIGTERM, which Linux sends when the runner ends, even if the runner is killed.

    Linux makes this process the parent of its orphans, so it finds all processes that nodes have started.
    """
    processes.adopt_orphans()
    signal.signal(signal.SIGTERM, _end)
    processes.end_with_parent(signal.SIGTERM)


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    processes.end_descendants(_PATIENCE_S)
    temporary.remove_abandoned()
    os._exit(0)  # an import that the signal has interrupted must not delay the end


if __name__ == "__main__":
    main()
