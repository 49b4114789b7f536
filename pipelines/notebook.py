"""Run a pipeline in a notebook, one node at a time, and show the nodes' outputs as tables."""

from __future__ import annotations

import html
import time
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from benison.pipelines.config import Pipeline
from benison.pipelines.quiet import quieten
from benison.pipelines.records import runs, temporary
from benison.pipelines.reports import reported_run, views
from benison.pipelines.running.live_log import open_log
from benison.pipelines.running.node_result import Result
from benison.serving.errors import NodeFailed, UsageError

if TYPE_CHECKING:
    import pandas as pd
    from tfx.orchestration.pipeline import Pipeline as TfxPipeline


class Outcome:
    """The result of a node; a notebook shows it as its state and a table per output."""

    def __init__(self, node: str, result: Result) -> None:
        self.node = node
        self.result = result

    def table(self, key: str) -> pd.DataFrame:
        """Return an output as a table.

        Args:
            key: the output's name, such as `statistics`.

        Raises:
            UsageError: there is no such output, or no view of its type.
        """
        tables = self._tables()
        if key not in tables:
            raise UsageError(f"{self.node}: no table of output {key!r}; it has tables of {', '.join(tables) or 'none'}")
        return tables[key]

    def _tables(self) -> dict[str, pd.DataFrame]:
        shown = {key: views.table_of(artifacts[0]) for key, artifacts in self.result.outputs.items() if artifacts}
        return {key: table for key, table in shown.items() if table is not None}

    def _repr_html_(self) -> str:
        reason = f" ({html.escape(self.result.reason)})" if self.result.reason else ""
        parts = [f"<b>{html.escape(self.node)}</b>: {self.result.state}{reason}"]
        for key, table in self._tables().items():
            parts.append(f"<p>{html.escape(key)}</p>{table.to_html(index=False)}")
        return "".join(parts)

    def __repr__(self) -> str:
        return f"{self.node}: {self.result.state}"


class Context:
    """Runs a pipeline node by node in this process, into the same ROOT and cache as the command line.

    Args:
        pipeline: a config, or any TFX pipeline.
        root: ROOT.
        cache: False runs every node again, without the cache.

    Raises:
        UsageError: a run of this pipeline is under way in ROOT.
    """

    def __init__(self, pipeline: Pipeline | TfxPipeline, root: str | Path = ".benison", *, cache: bool = True) -> None:
        from benison.pipelines import graph
        from benison.pipelines.compilation.compiled import compile_to
        from benison.pipelines.node import load_ir
        from benison.pipelines.records import lineage, metadata_store

        self._root = Path(root).absolute()
        self._cache = cache
        quieten()
        self._untried = pipeline if isinstance(pipeline, Pipeline) else None
        if isinstance(pipeline, Pipeline):
            pipeline = graph.build(pipeline, self._root)
        with ExitStack() as stack:
            self._run = stack.enter_context(reported_run.begin(self._root, pipeline.pipeline_info.pipeline_name))
            self._compiled = compile_to(pipeline, self._run.folder / "pipeline.json")
            self._ir = load_ir(self._compiled.ir, self._run.id, {})
            metadata_store.make_tables(metadata_store.of_pipeline(self._ir, self._root), self._root)
            lineage.abandon_unfinished(self._ir, self._root)
            self._run.plan(self._compiled)
            self._stack = stack.pop_all()  # held until `close`, unless something failed here
        self._nodes = {node.id: node for node in self._run.nodes}

    @property
    def nodes(self) -> list[str]:
        """The nodes' ids, each after the nodes that it depends on."""
        return list(self._nodes)

    def run(self, node: str) -> Outcome:
        """Run one node.

        Raises:
            UsageError: there is no such node, a node that it depends on has not run yet, or the user's code has
                mistakes; they are looked for before the first node that runs it.
            NodeFailed: the node failed, or its data is invalid; the message names the reason and the log.
        """
        from benison.pipelines import node as single_node
        from benison.pipelines.running import code_trial

        upstream = {n.id: n.upstream for n in self._compiled.nodes}
        if node not in self._nodes:
            raise UsageError(f"no node {node!r}; it has {', '.join(self._nodes)}")
        waiting = [other for other in upstream[node] if self._nodes[other].state not in runs.ENDED]
        if waiting:
            raise UsageError(
                f"{node} needs {', '.join(waiting)} to run first; run_until({node!r}) runs all of them in order"
            )
        record = self._nodes[node]
        if self._untried is not None and single_node.code_of(self._ir, node).users:
            code_trial.try_code(self._untried, self._root, log=self._run.folder / "code.log")
            self._untried = None
        record.state, record.started = "running", time.time()
        quieten()
        in_folder = temporary.use(self._run.temporary)
        with in_folder, open(open_log(Path(record.log)), "a") as log, redirect_stdout(log), redirect_stderr(log):
            result = single_node.run(self._compiled.ir, node, self._run.id, root=self._root, cache=self._cache)
        record.state, record.reason, record.outputs = result.state, result.reason, result.outputs
        record.seconds = time.time() - record.started
        self._run.save()
        if record.state in runs.FAILED_STATES:
            raise NodeFailed(f"{node}: {record.reason} (log: {record.log})")
        return Outcome(node, result)

    def run_until(self, node: str) -> Outcome:
        """Run a node, after the nodes that it depends on and that have not run yet."""
        upstream = {n.id: n.upstream for n in self._compiled.nodes}
        for other in upstream.get(node, ()):
            if self._nodes[other].state not in runs.ENDED:
                self.run_until(other)
        return self.run(node)

    def close(self) -> None:
        """End the run: write its `run.json` and release the pipeline's lock."""
        self._stack.close()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
