"""What a scheduler has to know of a pipeline, as JSON beside its IR: it needs neither TFX nor Benison to read it.

    FOLDER/NAME.json             the manifest
    FOLDER/NAME/pipeline.json    TFX's IR
    FOLDER/NAME/config.json      the checked config; not there for a pipeline that was written in Python

None of them holds a secret: the metadata store reaches a task by its environment.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.pipelines.airflow import manifest_texts
from benison.pipelines.airflow.form import CACHE, FormField, Type, parameters
from benison.pipelines.code import modules
from benison.pipelines.compilation.compiled import Compiled
from benison.pipelines.compilation.plain_data import mappings
from benison.pipelines.config.airflow import AirflowConfig
from benison.serving.errors import UsageError
from benison.serving.files import atomic_file

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline as TfxPipeline

    from benison.pipelines.config import Pipeline

FORMAT = 2  # 1: class and module paths of the releases before everything was imported as `benison.…`
IR, CONFIG = "pipeline.json", "config.json"
# What TFX fills in itself.
_TFX_PARAMETERS = frozenset({"pipeline-run-id", "pipeline-root"})
_TYPES: Mapping[str, Type] = {"STRING": "string", "INT": "integer", "DOUBLE": "number"}


@dataclass(frozen=True)
class Task:
    """A node as a scheduler draws it.

    Attributes:
        id: the node's.
        kind: of component.
        group: ingest, validate, train, ensemble or deploy.
        upstream: ids of what has to run before it.
        doc: one line.
    """

    id: str
    kind: str
    group: str
    upstream: tuple[str, ...]
    doc: str


@dataclass(frozen=True)
class Manifest:
    """A compiled pipeline.

    Attributes:
        manifest: the format's number.
        name: the pipeline's.
        description: one line.
        doc: Markdown.
        owners: who is asked about it.
        tags: to find it by.
        ir: the IR's file, relative to the manifest.
        config: the config's, likewise; None where the pipeline was written in Python.
        nodes: in topological order.
        parameters: the trigger form's fields.
        schedule: cron or a preset such as @monthly; None for none.
        spans: which date means which span: `first`, `every`, `first_number`; None where dates mean nothing.
        assets: URIs of what a run makes (`model`) and of what it is started by (`spans`, or None).
        retries: of a node that failed.
        retry_delay_s: seconds before a retry.
        timeout_s: seconds that a node may take; None for no limit.
        pool: the scheduler's pool; None for its default.
        alone: nodes beside which nothing else of ROOT runs.
        import_path: folders beyond the installed packages that hold the pipeline's modules.
    """

    manifest: int
    name: str
    description: str
    doc: str
    owners: tuple[str, ...]
    tags: tuple[str, ...]
    ir: str
    config: str | None
    nodes: tuple[Task, ...]
    parameters: tuple[FormField, ...]
    schedule: str | None
    spans: Mapping[str, Any] | None
    assets: Mapping[str, str | None]
    retries: int
    retry_delay_s: int
    timeout_s: int | None
    pool: str | None
    alone: tuple[str, ...]
    import_path: tuple[str, ...]


def write(config: Pipeline, folder: Path, root: Path) -> Manifest:
    """Compiles a pipeline from its config.

    Args:
        config: the pipeline's config.
        folder: where the files go; those of an earlier time are replaced, each whole.
        root: ROOT; the IR names it. A run takes the ROOT that it is given.
    """
    from benison.pipelines.compilation import compiling

    def compiled(ir: Path) -> Compiled:
        return compiling.for_all_runs(config, root, ir)

    ir, nodes = _write_ir(compiled, folder, config.name)
    _write(folder / config.name / CONFIG, json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
    airflow, spans = config.airflow, config.spans
    dated = {"first": spans.first, "every": spans.every, "first_number": 1} if spans and spans.first else None
    ensemble = ("ensemble",) if len(config.ensemble.members) > 1 else ()
    return _finish(
        Manifest(
            **_common(config.name, ir, nodes, airflow),
            description=config.description,
            doc=manifest_texts.doc(config),
            tags=tuple(dict.fromkeys(("benison", config.problem, *ensemble, *airflow.tags))),
            config=f"{config.name}/{CONFIG}",
            parameters=parameters(config),
            schedule=config.schedule,
            spans=dated,
            assets={"model": asset(config.name, "model"), "spans": asset(config.name, "spans") if spans else None},
            import_path=(),
        ),
        folder,
    )


def write_any(
    pipeline: TfxPipeline, folder: Path, *, description: str = "", airflow: AirflowConfig | None = None
) -> Manifest:
    """Compiles any `tfx.dsl.Pipeline`; its runtime parameters become the fields of the form.

    Args:
        pipeline: hand-written, or ours.
        folder: see `write`.
        description: one line.
        airflow: owners, tags, retries and the like.

    Raises:
        UsageError: its name is none for a file, or a component of it cannot be imported by another process.
    """
    from benison.pipelines.compilation.compiled import compile_to

    name = pipeline.pipeline_info.pipeline_name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UsageError(f"pipeline {name!r}: expected a name of letters, digits, '_', '-' and '.'")
    airflow = airflow or AirflowConfig()
    ir, nodes = _write_ir(lambda file: compile_to(pipeline, file), folder, name)
    return _finish(
        Manifest(
            **_common(name, ir, nodes, airflow),
            description=description,
            doc=manifest_texts.doc_of_any(name, description, [node.id for node in nodes]),
            tags=tuple(dict.fromkeys(("benison", *airflow.tags))),
            config=None,
            parameters=(*_runtime_parameters(ir), FormField(CACHE, "boolean", True, manifest_texts.CACHE)),
            schedule=None,
            spans=None,
            assets={"model": asset(name, "model"), "spans": None},
            import_path=tuple(modules.import_path()),
        ),
        folder,
    )


def read(file: Path) -> Manifest:
    """A manifest from its file.

    Raises:
        UsageError: it is not there or is none.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data.get("manifest") != FORMAT:
            raise ValueError(f"format {data.get('manifest')!r}, expected {FORMAT}; compile again")
        nodes = tuple(Task(**{**node, "upstream": tuple(node["upstream"])}) for node in data["nodes"])
        fields = tuple(FormField(**field) for field in data["parameters"])
        known = {key: data[key] for key in Manifest.__dataclass_fields__}
        return Manifest(**{**known, "nodes": nodes, "parameters": fields})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file}: no manifest that `benison compile` of this version wrote: {error}") from error


def asset(name: str, what: str) -> str:
    """The URI by which a scheduler knows a pipeline's `model` or `spans`."""
    return f"benison://{name}/{what}"


def _common(name: str, ir: Mapping[str, Any], nodes: Sequence[Task], airflow: AirflowConfig) -> dict[str, Any]:
    return {
        "manifest": FORMAT,
        "name": name,
        "owners": airflow.owners,
        "ir": f"{name}/{IR}",
        "nodes": tuple(nodes),
        "retries": airflow.retries,
        "retry_delay_s": airflow.retry_delay_s,
        "timeout_s": airflow.timeout_s,
        "pool": airflow.pool,
        "alone": tuple(_exclusive_nodes(ir)),
    }


def _write_ir(compiled: Callable[[Path], Compiled], folder: Path, name: str) -> tuple[dict[str, Any], list[Task]]:
    """Compiles into a file aside, takes out where the metadata are kept, and puts it into its place."""
    target = folder / name / IR
    aside = target.with_name(f".{IR}.{uuid.uuid4().hex}")
    try:
        pipeline: Compiled = compiled(aside)
        ir = json.loads(aside.read_text(encoding="utf-8"))
    finally:
        aside.unlink(missing_ok=True)
    _write(target, json.dumps(_without_store(ir), indent=2) + "\n")
    groups: dict[str, str] = {}
    for node in pipeline.nodes:
        groups[node.id] = manifest_texts.group(node.kind, [groups[upstream] for upstream in node.upstream])
    return ir, [
        Task(node.id, node.kind, groups[node.id], node.upstream, manifest_texts.of_node(node.id, node.kind))
        for node in pipeline.nodes
    ]


def _without_store(ir: dict[str, Any]) -> dict[str, Any]:
    """The IR without its metadata connection, whose password would stand in it; SQLite's has none and stays."""
    connection = ir.get("deploymentConfig", {}).get("metadataConnectionConfig")
    if connection and not any("sqlite" in part for part in mappings(connection)):
        del ir["deploymentConfig"]["metadataConnectionConfig"]
    return ir


def _exclusive_nodes(ir: Mapping[str, Any]) -> Iterator[str]:
    for entry in ir["nodes"]:
        node = entry["pipelineNode"]
        if "runs_alone" in node.get("parameters", {}).get("parameters", {}):
            yield node["nodeInfo"]["id"]


def _runtime_parameters(ir: Mapping[str, Any]) -> Iterator[FormField]:
    """One field per runtime parameter, in the order of the IR."""
    seen = set(_TFX_PARAMETERS)
    for found in mappings(ir):
        given = found.get("runtimeParameter")
        if isinstance(given, Mapping) and given.get("name") not in seen:
            seen.add(given["name"])
            default = next(iter(given.get("defaultValue", {}).values()), None)
            kind = _TYPES[given.get("type", "STRING")]
            value = int(default) if kind == "integer" and default is not None else default  # protobuf's JSON has text
            yield FormField(given["name"], kind, value, "Runtime parameter of the pipeline", nullable=value is None)


def _finish(manifest: Manifest, folder: Path) -> Manifest:
    """Writes the manifest itself, last: whoever finds it finds the rest."""
    _write(folder / f"{manifest.name}.json", json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n")
    return manifest


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_file.write(file, text)
