"""Run a pipeline in a notebook, node by node, change its parameters, and show what the nodes wrote."""

from __future__ import annotations

import difflib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.pipelines import config_file
from benison.pipelines.code.code_reference import display_path
from benison.pipelines.config import Pipeline
from benison.pipelines.config.yaml_edit import in_one_line
from benison.pipelines.drawings import page
from benison.pipelines.drawings.drawing import Html, Part, Table
from benison.pipelines.made_from import recordable
from benison.pipelines.quiet import quieten
from benison.pipelines.records import runs
from benison.pipelines.records.runs import Run
from benison.pipelines.reports import shown
from benison.pipelines.runner import LocalRunner
from benison.pipelines.running.partial_run import Part as RunPart
from benison.serving.errors import DataError, NodeFailed, UsageError
from benison.serving.files import atomic_file, checksum, patterns
from benison.serving.markup import element
from benison.serving.visible_text import visible_line

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline as TfxPipeline

_MOST_NAMED = 4  # nodes that ran before the one that was asked for
_NO_YAML = "this context was made of a pipeline, not of a YAML; make it of a name or a file: Context('flights')"


class Drawing:
    """Something to show: HTML in a notebook, a list of titles elsewhere."""

    def __init__(self, parts: list[Part], text: str) -> None:
        self._parts = parts
        self._text = text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        # Vega's script is in the output of the cell that made the Context: 900 kB once, not for each drawing.
        return {"text/html": str(page.fragment(self._parts)), "text/plain": self._text}

    def __repr__(self) -> str:
        return self._text


class Outcome(Drawing):
    """The result of a node.

    Attributes:
        node: the node's id.
        state: complete, cached, skipped, not_blessed or not_pushed.
        run: the run.
    """

    def __init__(self, node: str, run: Run) -> None:
        records = [record for record in run.nodes if record.id == node] or run.nodes[-1:]
        self.node, self.state, self.run = node, records[0].state, run
        others = [r for r in run.nodes if r.id != node]
        ran = [f"{r.id} {r.seconds or 0:.1f} s" for r in others if r.state == "complete"]
        if len(ran) > _MOST_NAMED:
            ran = [f"{len(ran)} nodes, {sum(r.seconds or 0 for r in others if r.state == 'complete'):.0f} s"]
        cached = sum(r.state == "cached" for r in others)
        before = [*ran, *([f"{cached} node{'s' if cached > 1 else ''} cached"] if cached else [])]
        reason = f": {records[0].reason}" if records[0].reason else ""
        line = f"{node} {self.state.replace('_', ' ')} in {records[0].seconds or 0:.1f} s{reason}"
        text = f"{line} (before it: {', '.join(before)})" if before else line
        hint = " ".join(
            f"ctx.show({key!r})" for key, kind in shown.available(replace(run, nodes=records)) if kind.types
        )
        marks = {"complete": "good", "cached": "good", "not_blessed": "warn", "not_pushed": "warn"}
        parts: list[Part] = [
            Html(
                element(
                    "p",
                    element("span", visible_line(node), class_="strong"),
                    " ",
                    element("span", visible_line(self.state.replace("_", " ")), class_=marks.get(self.state)),
                    visible_line(text.removeprefix(f"{node} {self.state.replace('_', ' ')}")),
                )
            )
        ]
        if hint:
            parts.append(Html(element("p", visible_line(hint), class_="note")))
        super().__init__(parts, text)


class Context:
    """A pipeline to run node by node, by the code and in the ROOT of the command line.

    Args:
        pipeline: a name or a YAML file, as for `benison run`; or a loaded config, or any TFX pipeline.
        root: ROOT. Defaults to the environment's BENISON_ROOT, else `.benison`.
        cache: False runs every node again, without the cache.
        span: `3` or `1-3`, for a pipeline with spans. Defaults to the newest window.

    Raises:
        UsageError: the YAML is missing or wrong.
    """

    def __init__(
        self,
        pipeline: str | Path | Pipeline | TfxPipeline,
        root: str | Path | None = None,
        *,
        cache: bool = True,
        span: str | None = None,
    ) -> None:
        quieten()
        self.root = Path(root or os.environ.get("BENISON_ROOT") or ".benison").absolute()
        patterns.check_root(self.root)
        self._span = span
        self._sets: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._file: Path | None = None
        self._tfx: Any = None
        if isinstance(pipeline, (str, Path)):
            self._file = config_file.find(pipeline).absolute()
            self._load(self._sets)
        elif isinstance(pipeline, Pipeline):
            self._config = pipeline
        else:
            self._tfx = pipeline
        self._progress = _Progress()
        self._runner = LocalRunner(self.root, cache=cache, observer=self._progress).__enter__()
        earlier = [run for run in runs.history(self.root) if run.pipeline == self.name]
        self._run = earlier[-1] if earlier else None
        _display_script()

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.config.name if self._tfx is None else str(self._tfx.pipeline_info.pipeline_name)

    @property
    def config(self) -> Pipeline:
        """The config, with the changes.

        Raises:
            UsageError: this is the context of a TFX pipeline, which has none.
        """
        if self._tfx is not None:
            raise UsageError("a TFX pipeline has no config")
        return self._config

    @property
    def nodes(self) -> list[str]:
        """The nodes' ids, each after the nodes that it depends on."""
        if self._tfx is not None:
            return [component.id for component in self._tfx.components]
        return [node.id for node in self._runner.nodes(self.config, span=self._span)]

    def run(self, node: str) -> Outcome:
        """Run a node and what it needs; what has not changed since it ran is taken from the cache.

        Args:
            node: its id; of several, a pattern such as `Trainer.*`.

        Raises:
            UsageError: there is no such node, or the config or the user's code has mistakes.
            NodeFailed: a node failed; the message names the reason and the log.
            DataError: the data is invalid.
        """
        part = RunPart(last=node)
        with self._progress:
            if self._tfx is not None:
                run = self._runner.run(self._tfx, part=part)
            else:
                if self._file is not None:
                    self._load(self._sets)  # the file may have been edited since
                run = self._runner.run_config(self.config, span=self._span, sets=recordable(self._sets), part=part)
        self._run = _with_others(run, self._run)
        for failed in run.failed_nodes:
            error_type = DataError if failed.state == "invalid" else NodeFailed
            raise error_type(f"{failed.id}: {failed.reason} (log: {failed.log})")
        return Outcome(node, run)

    def set(self, key: str, value: Any) -> None:
        """Change a value of the YAML for the next runs, as `--set` does; the file stays as it is until `export`.

        Args:
            key: such as `members.deep.hyperparameters.layers` or `columns.age.kind`.
            value: plain data.

        Raises:
            UsageError: there is no such key, or the value is wrong; nothing is changed.
        """
        self._yaml()
        sets = {**self._sets, key: in_one_line(_plain(value))}
        self._load(sets)
        self._sets, self._values[key] = sets, value

    @property
    def changes(self) -> Mapping[str, Any]:
        """The values that `set` has changed since the last `export`, by key."""
        return dict(self._values)

    def export(self) -> str:
        """Write the changes into the YAML file; its comments, its order and all other lines stay.

        Returns:
            What has changed in the file, as a unified diff.

        Raises:
            UsageError: the file has changed since it was loaded, or a value cannot be written alone.
            OSError: the file cannot be written; its content stays.
        """
        file = self._yaml()
        if checksum.of_file(file) != self._loaded:
            raise UsageError(
                f"{display_path(file)}: has changed since it was loaded; look at it, then make the Context again, "
                "or run a node, which loads it"
            )
        text = config_file.written(file, self._sets)
        before = file.read_bytes().decode("utf-8")
        name = display_path(file)
        diff = difflib.unified_diff(before.splitlines(True), text.splitlines(True), name, f"{name}, with the changes")
        if text != before:
            mode = file.stat().st_mode & 0o777
            target = file.resolve()  # a link stays one
            atomic_file.write(target, text)
            with suppress(OSError):
                target.chmod(mode)
        self._sets, self._values = {}, {}
        self._load(self._sets)
        return Diff("".join(diff))

    def show(self, what: str | None = None) -> Drawing:
        """Show what the nodes wrote, as the report of a run does.

        Args:
            what: one of the kinds that `show()` lists, or a node's id.

        Raises:
            UsageError: there is no such kind or node, or its node has not run yet.
        """
        run = self._run
        if run is None:
            raise UsageError(
                f"{self.root} has no run of {self.name} yet; run a node first, such as ctx.run('StatisticsGen')"
            )
        if what is None:
            rows = [[key, kind.what] for key, kind in shown.available(run)]
            nodes = ", ".join(node.id for node in run.nodes if node.outputs)
            table = Table(
                f"What can be shown of {self.name}", ["ctx.show(…)", "what it shows"], rows, f"Also a node: {nodes}."
            )
            return Drawing([table], "\n".join(f"{key}: {what}" for key, what in rows))
        parts: list[Part] = []
        for kind, of in shown.find(what, run):
            parts += shown.parts(kind, of, self.root, self._runner)
        return Drawing(parts, f"{what} of {self.name}, run {run.id}")

    def close(self) -> None:
        """End the worker processes, which otherwise end with the notebook; the next run starts new ones."""
        self._runner.__exit__()
        self._runner.__enter__()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Context({self.name!r}, root={str(self.root)!r})"

    def _yaml(self) -> Path:
        if self._file is None:
            raise UsageError(_NO_YAML)
        return self._file

    def _load(self, sets: Mapping[str, str]) -> None:
        file = self._yaml()
        loaded = checksum.of_file(file)
        self._config = config_file.load(file, sets)
        self._loaded = loaded


class Diff(str):
    """A unified diff; a notebook shows its lines as they are."""

    def __repr__(self) -> str:
        return str(self) or "no changes"


def _with_others(run: Run, before: Run | None) -> Run:
    """Return a run together with the nodes of earlier ones that do not depend on what it has changed."""
    if before is None:
        return run
    earlier = {node.id: node for node in before.nodes}
    changed = {node.id for node in run.nodes if node.id in earlier and _uris(node) != _uris(earlier[node.id])}
    downstream = _downstream(run.folder / "pipeline.json")
    reached, waiting = set(changed), list(changed)
    while waiting:
        new = downstream.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    own = {node.id for node in run.nodes}
    others = [node for node in before.nodes if node.id not in own | reached and node.id in downstream]
    return replace(run, nodes=[*run.nodes, *others])


def _uris(node: runs.NodeRun) -> list[str]:
    return [output["uri"] for outputs in node.outputs.values() for output in outputs]


def _downstream(ir: Path) -> dict[str, set[str]]:
    try:
        nodes = [entry["pipelineNode"] for entry in json.loads(ir.read_text())["nodes"]]
    except (OSError, ValueError, KeyError):
        return {}
    return {node["nodeInfo"]["id"]: set(node.get("downstreamNodes", ())) for node in nodes}


def _plain(value: Any) -> Any:
    """Return a value as plain data: NumPy's numbers as Python's, tuples as lists, paths as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") else value


class _Progress:
    """Shows in the cell which nodes are running, until they have ended."""

    def __init__(self) -> None:
        self._handle: Any = None

    def __enter__(self) -> None:
        if display := _display():
            self._handle = display(_html("starting …"), raw=True, display_id=True)

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.update({"text/html": "", "text/plain": ""}, raw=True)
            self._handle = None

    def __call__(self, run: Run) -> None:
        if self._handle is None:
            return
        running = [node.id for node in run.nodes if node.state == "running"]
        ended = sum(node.state in runs.ENDED for node in run.nodes)
        if run.nodes:
            text = f"{ended} of {len(run.nodes)} nodes; running: {', '.join(running) or '-'}"
            self._handle.update(_html(f"{text} ({time.time() - run.started:.0f} s)"), raw=True)


def _html(text: str) -> dict[str, str]:
    return {"text/html": str(element("p", visible_line(text))), "text/plain": text}


def _display() -> Callable[..., Any] | None:
    """Return IPython's `display` in a notebook, else None."""
    import sys

    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython
    from IPython.display import display

    shell = get_ipython()
    return display if shell is not None and hasattr(shell, "kernel") else None


def _display_script() -> None:
    """Put the script that draws charts into the output of this cell; the drawings below it in the notebook use it."""
    if display := _display():
        display({"text/html": str(page.scripts()), "text/plain": "the script of Benison's drawings"}, raw=True)
