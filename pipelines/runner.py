"""LocalRunner: run any TFX pipeline on this machine, in worker processes that stay warm between nodes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from benison.pipelines.compilation import main_module
from benison.pipelines.compilation.compiled import Compiled, Node, compile_to
from benison.pipelines.records import runs, temporary
from benison.pipelines.reports import reported_run
from benison.pipelines.running import code_trial, partial_run, timing, unchanged
from benison.pipelines.running.partial_run import WHOLE, Part, Plan
from benison.pipelines.running.workers import Worker, WorkerDied, end_workers, first_ready
from benison.serving.errors import BenisonError, DataError, NodeFailed

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline as TfxPipeline

    from benison.pipelines.config import Pipeline

Observer = Callable[[runs.Run], None]
_IR = "pipeline.json"
_MOST_WORKERS, _WORKER_BYTES = 4, 2 << 30  # the memory of a worker that has TensorFlow loaded and runs a node


class LocalRunner:
    """Runs pipelines node by node, in worker processes that have imported TensorFlow already.

    In a `with` block the worker processes stay for the next run, which then starts seconds earlier.

    Args:
        root: ROOT, for logs, locks and (where a pipeline names no metadata store of its own) ML Metadata.
        cache: False runs every node again, without the cache.
        observer: called with the run whenever the state of a node changes.
        workers: how many nodes run at the same time. Defaults to what this machine's cores and memory allow, four at
            most.
    """

    def __init__(
        self,
        root: str | Path = ".benison",
        *,
        cache: bool = True,
        observer: Observer | None = None,
        workers: int | None = None,
    ) -> None:
        self._root = Path(root).absolute()
        self._cache = cache
        self._workers = workers or _workers_here()
        self._observe = observer or (lambda run: None)
        self._between_runs: ExitStack | None = None
        self._kept: _Pool | None = None

    def __enter__(self) -> LocalRunner:
        self._between_runs = ExitStack()
        return self

    def __exit__(self, *_: object) -> None:
        """End the worker processes."""
        if self._between_runs is not None:
            self._end_kept(self._between_runs)
            self._between_runs = None

    def run(self, pipeline: TfxPipeline, *, part: Part = WHOLE) -> runs.Run:
        """Run any `tfx.dsl.Pipeline`, as TFX's LocalDagRunner does.

        Args:
            pipeline: the pipeline.
            part: the part of it to run: the whole, or up to a node, `Part(last="Trainer")`.

        Returns:
            The run; each of its nodes succeeded or was skipped.

        Raises:
            NodeFailed: a node failed; the message names the node, the reason and the log.
            DataError: the data is invalid.
            UsageError: another run of this pipeline is under way, or worker processes cannot import one of its
                components.
        """
        main_module.forbid_in_worker()
        with (
            reported_run.begin(self._root, pipeline.pipeline_info.pipeline_name) as run,
            self._pool(run.temporary) as pool,
        ):
            run.part = part.options
            plan = partial_run.plan(part, compile_to(pipeline, run.folder / _IR), (), lambda earlier: ())
            self._execute(run, plan, pool)
        for node in run.failed_nodes:
            error_type = DataError if node.state == "invalid" else NodeFailed
            raise error_type(f"{node.id}: {node.reason} (log: {node.log})")
        return run

    def run_config(
        self,
        config: Pipeline,
        *,
        span: str | None = None,
        only_ingest: bool = False,
        sets: Mapping[str, str] = MappingProxyType({}),
        part: Part = WHOLE,
    ) -> runs.Run:
        """Build and run a pipeline from its config, without importing TFX in this process.

        Args:
            config: the pipeline's config.
            span: `3` or `1-3`, for a pipeline with spans. Defaults to the newest window.
            only_ingest: infer the schema and stop after the AnomalyGate.
            sets: the values in the config that replaced those of the YAML, by key, for the record of the run.
            part: the part of the pipeline to run, such as `Part(last="Evaluator")` or `Part(resume=RUN)`. Defaults to
                the whole pipeline.

        Returns:
            The run. A failed node raises no exception; its state and reason are in the run.

        Raises:
            NodeFailed: the pipeline could not be built, or ML Metadata could not be reached.
            UsageError: another run of this pipeline is under way, the user's code has mistakes, the pipeline has no
                such part, or no earlier run has what the part takes: the message names what has changed.
        """
        part.check(cache=self._cache, span=span)
        resumed = partial_run.find_resumable(self._root, config.name, part.resume) if part.resume else None
        if resumed is not None:
            span, sets = partial_run.window_of(resumed), sets or resumed.sets
        with reported_run.begin(self._root, config.name, None if only_ingest else config) as run:
            run.sets = dict(sets)
            run.part = part.options | (partial_run.part_of(resumed).options if resumed else {})
            self._observe(run)
            timing.begin()
            comparison = None if only_ingest else unchanged.Comparison(config, self._root, span)
            with timing.phase("comparing with the last run"):
                repeats = part.is_whole and comparison is not None and self._cache and comparison.repeat(run)
            if repeats:
                self._observe(run)
            else:
                with self._pool(run.temporary) as pool:
                    if comparison is not None and (comparison.is_first or not self._cache):
                        pool.grow()  # every node will run
                    self._run_config(run, config, span, pool, comparison, part)
            run.phases = timing.measured()
        return run

    def nodes(self, config: Pipeline, *, span: str | None = None) -> tuple[Node, ...]:
        """Return the nodes of a pipeline in topological order; none runs.

        Args:
            config: the pipeline's config.
            span: see `run_config`.

        Raises:
            NodeFailed: the pipeline could not be built.
            UsageError: the user's code has mistakes.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        with temporary.for_command(self._root, "nodes") as folder, self._pool(folder) as pool:
            return self._compile(folder, config, span, pool, only_ingest=False).nodes

    def first_rows(self, examples: Path, split: str, count: int, graph: Path | None = None) -> dict[str, Any]:
        """Return the first rows of a split of an Examples artifact, see `benison.pipelines.running.first_rows`."""
        return self._ask(
            "first_rows", examples=str(examples), split=split, count=count, graph=str(graph) if graph else None
        )

    def evaluation(self, folder: Path) -> list[dict[str, Any]]:
        """Return the metrics of TFX's Evaluator, see `benison.pipelines.running.evaluations`."""
        return list(self._ask("evaluation", folder=str(folder))["rows"])

    def _ask(self, operation: str, **request: Any) -> dict[str, Any]:
        """Ask a worker to read something that only TensorFlow and TFX can read."""
        with temporary.for_command(self._root, "read") as folder, self._pool(folder) as pool:
            return pool.ask(operation=operation, log=str(folder / "read.log"), **request)

    @contextmanager
    def _pool(self, folder: Path) -> Iterator[_Pool]:
        """Yield the worker processes: those that stay between runs, or else new ones, with a temporary folder."""
        if self._between_runs is None:
            with _Pool(self._workers, folder) as pool:
                yield pool
            return
        if self._kept is None:
            own = self._between_runs.enter_context(temporary.for_command(self._root, "runner"))
            self._kept = self._between_runs.enter_context(_Pool(self._workers, own))
        try:
            yield self._kept
        except BaseException as error:
            # After Ctrl-C a worker may still be busy. After a mistake of the user they all wait for the next run.
            if self._kept.busy or isinstance(error, WorkerDied) or not isinstance(error, BenisonError):
                self._end_kept(self._between_runs)
            raise

    def _end_kept(self, stack: ExitStack) -> None:
        self._kept = None
        stack.close()

    def _run_config(
        self,
        run: runs.Run,
        config: Pipeline,
        span: str | None,
        pool: _Pool,
        comparison: unchanged.Comparison | None,
        part: Part,
    ) -> None:
        """Compile the pipeline and run its nodes; without a comparison, only those that ingest."""
        if comparison is not None:
            with timing.phase("reading the code"):
                comparison.begin(run)
        with timing.phase("compiling and trying the code, with the start of the worker"):
            compiled = self._compile(run.folder, config, span, pool, only_ingest=comparison is None)
        plan = Plan(compiled)
        if comparison is not None and not part.is_whole:
            with timing.phase("comparing with the last run"):
                earlier = runs.earlier(self._root, run)[::-1]
                plan = partial_run.plan(part, compiled, earlier, comparison.changed_since)
        functions = self._execute(run, plan, pool)
        plan.refuse_untaken(run)
        if comparison is not None:
            with timing.phase("recording the run"):
                comparison.remember(run, functions)

    def _compile(self, folder: Path, config: Pipeline, span: str | None, pool: _Pool, *, only_ingest: bool) -> Compiled:
        """Compile the pipeline in a worker, which meanwhile tries the user's code; a run that only ingests needs none.

        Raises:
            UsageError: the code has mistakes.
        """
        request = {
            "operation": "compile",
            "config": config.model_dump(mode="json"),
            "span": span,
            "only_ingest": only_ingest,
            "ir": str(folder / _IR),
            "root": str(self._root),
            "log": str(folder / "compile.log"),
        }
        answers: list[dict[str, Any]] = []

        def compile_and_try(**trial: Any) -> dict[str, Any]:
            answers.append(pool.ask(**request, trial=trial))
            return dict(answers[0]["trial"])

        if not only_ingest:
            code_trial.try_code(config, self._root, compile_and_try, folder / "code.log")
        answer = answers[0] if answers else pool.ask(**request)  # the code was tried before
        return Compiled.from_json(answer["compiled"])

    def _execute(self, run: runs.Run, plan: Plan, pool: _Pool) -> dict[str, str | None]:
        """Start each node when its upstream nodes have ended; after a failure, start no more.

        Returns:
            By node, the hash of the user's functions in the key of its cache; None if it is not known.
        """
        compiled = plan.compiled
        run.plan(compiled)
        self._observe(run)
        with timing.phase("cleaning up"):
            pool.ask(
                operation="tidy",
                log=str(run.folder / "tidy.log"),
                ir=str(compiled.ir),
                run_id=run.id,
                root=str(self._root),
            )
        by_id = {node.id: node for node in run.nodes}
        order = compiled.by_urgency()
        functions: dict[str, str | None] = {}
        ready: dict[str, float] = {}
        while True:
            for node in [] if run.failed_nodes else order:
                self._start_or_skip(node, by_id, run, plan, pool, ready)
            run.save()
            self._observe(run)
            if not pool.busy:
                return functions
            with timing.phase("nodes"):
                answered = pool.next_answer()
            if answered is None:  # another worker can take a node now
                continue
            node_id, answer = answered
            functions[node_id] = None if isinstance(answer, NodeFailed) else answer.get("functions")
            _settle(by_id[node_id], answer)
            if by_id[node_id].state == "complete" and any(node.state == "waiting" for node in run.nodes):
                pool.grow()  # not everything is cached, so more workers are worth their start

    def _start_or_skip(
        self,
        node: Node,
        by_id: dict[str, runs.NodeRun],
        run: runs.Run,
        plan: Plan,
        pool: _Pool,
        ready: dict[str, float],
    ) -> None:
        """Start a node if it can start; `ready` keeps since when it has waited for a worker."""
        record = by_id[node.id]
        upstream = [by_id[upstream_id] for upstream_id in node.upstream]
        if record.state != "waiting":
            return
        if any(other.state == "skipped" for other in upstream):
            record.state, record.reason = "skipped", "a node that it depends on was skipped"
        elif all(other.state in runs.ENDED for other in upstream):
            if not pool.has_room:
                ready.setdefault(node.id, time.time())
                return
            record.state, record.started = "running", time.time()
            record.profile = {"phases": {"waiting": record.started - ready.get(node.id, record.started)}}
            pool.start(
                node.id,
                operation="run",
                ir=str(node.ir),
                node=node.name,
                # A pipeline that ingests an earlier span has its own run in ML Metadata.
                run_id=run.id if node.ir == plan.compiled.ir else runs.sub_run_id(run.id, node.ir.stem),
                root=str(self._root),
                cache=self._cache and not plan.is_fresh(node.id),
                taking=plan.taking(node.id),
                log=record.log,
            )


class _Pool:
    """The worker processes: only one at first, which is enough for a run that is cached or fails early.

    Further workers take nodes only when they have imported what every node needs. Until then a node that many others
    wait for is done sooner by a worker that has.
    """

    def __init__(self, most: int, temporary: Path) -> None:
        self._most = most
        self._temporary = temporary
        self._idle = [self._new_worker()]  # started now, so that it imports TensorFlow while the caller continues
        self._warming: list[Worker] = []
        self.busy: dict[str, Worker] = {}

    @property
    def has_room(self) -> bool:
        return bool(self._idle)

    def grow(self) -> None:
        """Start the other workers."""
        for _ in range(self._most - len(self._idle) - len(self.busy) - len(self._warming)):
            worker = self._new_worker()
            with suppress(WorkerDied):  # `next_answer` notices
                worker.send(operation="warm_up", log=os.devnull)
            self._warming.append(worker)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes, whether the run succeeded or not."""
        end_workers([*self._idle, *self._warming, *self.busy.values()])

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request to an idle worker and return its answer."""
        self._idle[0].send(**request)
        return self._idle[0].receive()

    def start(self, key: str, **request: Any) -> None:
        self.busy[key] = self._idle.pop()
        try:
            self.busy[key].send(**request)
        except WorkerDied:  # it died after its last node, so this node is not the cause
            self.busy[key].end()
            self.busy[key] = self._new_worker()
            self.busy[key].send(**request)

    def _new_worker(self) -> Worker:
        return Worker(self._temporary)

    def next_answer(self) -> tuple[str, dict[str, Any] | NodeFailed] | None:
        """Wait for any worker that is busy, or not ready yet.

        Returns:
            The key of its request, and its answer or its failure; None for a worker that is ready now.
        """
        worker = first_ready([*self.busy.values(), *self._warming])
        if worker in self._warming:
            self._warming.remove(worker)
            try:
                worker.receive()
                self._idle.insert(0, worker)
            except NodeFailed:  # the first worker fails with the same error, where it has a log
                worker.end()
            return None
        key = next(key for key, other in self.busy.items() if other is worker)
        del self.busy[key]
        try:
            answer: dict[str, Any] | NodeFailed = worker.receive()
        except WorkerDied as death:
            worker.end()
            self._idle.insert(0, self._new_worker())
            return key, death
        except NodeFailed as error:
            answer = error
        self._idle.append(worker)
        return key, answer


def _workers_here() -> int:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(_MOST_WORKERS, len(os.sched_getaffinity(0)), memory // _WORKER_BYTES - 1))


def _settle(node: runs.NodeRun, answer: dict[str, Any] | NodeFailed) -> None:
    node.seconds = time.time() - (node.started or time.time())
    if isinstance(answer, NodeFailed):
        node.state, node.reason = "failed", str(answer)
    else:
        node.state, node.reason, node.outputs = answer["state"], answer["reason"], answer["outputs"]
        node.origin = answer["origin"]
        if measured := answer.get("profile"):
            node.profile = {**measured, "phases": {**node.profile["phases"], **measured["phases"]}}
