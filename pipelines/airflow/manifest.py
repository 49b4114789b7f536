"""The manifest of a compiled pipeline: JSON that a scheduler can read without TFX or Benison.

    FOLDER/NAME.json             the manifest
    FOLDER/NAME.dag.py           the DAG file, which has Airflow make the pipeline's DAGs of the manifest
    FOLDER/NAME/pipeline.json    TFX's IR
    FOLDER/NAME/config.json      the checked config; missing for a pipeline that was written in Python

None of them holds a secret: a task reads the address of the metadata store from its environment.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.components import modules
from benison.pipelines.airflow import collisions, manifest_texts
from benison.pipelines.airflow.form import CACHE, FormField, Type, parameters, with_values
from benison.pipelines.compilation.compiled import Compiled
from benison.pipelines.compilation.plain_data import mappings
from benison.pipelines.config.airflow import AirflowConfig
from benison.pipelines.config.limits import LARGEST, LONGEST
from benison.serving.errors import UsageError
from benison.serving.files import atomic_file
from benison.serving.visible_text import visible

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline as TfxPipeline

    from benison.pipelines.config import Pipeline

FORMAT = 3  # 1: class paths of the releases before everything was imported as `benison.…`; 2: fields without limits
IR, CONFIG = "pipeline.json", "config.json"
DAG_FILE = ".dag.py"  # a dot in the name, so that no `import` finds it
# Airflow's processor imports what the file imports of Airflow once, before it parses all files in forks.
_DAG_FILE = '''"""The Airflow DAGs of the pipeline {name}, made of {name}.json. `benison compile` writes this file."""

import airflow.providers.standard.operators.trigger_dagrun
import airflow.sdk
from benison_dags import of_file

globals().update(of_file(__file__))
'''
# Parameters that TFX fills in itself.
_TFX_PARAMETERS = frozenset({"pipeline-run-id", "pipeline-root"})
_TYPES: Mapping[str, Type] = {"STRING": "string", "INT": "integer", "DOUBLE": "number"}


@dataclass(frozen=True)
class Task:
    """A node as a scheduler shows it.

    Attributes:
        id: the node's id.
        kind: the component's class name.
        group: ingest, validate, train, ensemble or deploy.
        upstream: ids of the nodes that must run before it.
        doc: one line.
        helpers: number of further tasks that run trials of a Tuner (`benison.pipelines.search_worker`).
    """

    id: str
    kind: str
    group: str
    upstream: tuple[str, ...]
    doc: str
    helpers: int = 0


@dataclass(frozen=True)
class PipelineManifest:
    """A compiled pipeline.

    Attributes:
        manifest: the number of the format.
        name: the pipeline's name.
        description: one line.
        doc: Markdown.
        owners: the people to ask about the pipeline.
        tags: tags to find the pipeline by.
        ir: the IR's file, relative to the manifest.
        config: the config's file, relative to the manifest; None for a pipeline that was written in Python.
        nodes: in topological order.
        parameters: the fields of the trigger form.
        schedule: cron or a preset such as @monthly; None for no schedule.
        spans: how dates map to spans: `first`, `every`, `first_number`; None if they do not.
        assets: URIs of the asset that a run produces (`model`) and of the one that starts it (`spans`, or None).
        retries: how often a failed node is retried.
        retry_delay_s: seconds before a retry.
        timeout_s: the longest time that a node may take, in seconds; None for no limit.
        pool: the scheduler's pool; None for its default.
        alone: nodes that run while no other node in ROOT does.
        import_path: folders besides the installed packages that hold the pipeline's modules.
        source: the YAML that it was compiled from; None for a pipeline that was written in Python.
        root: ROOT when it was compiled; '' for a pipeline that was written in Python. A run may use another one.
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
    source: str | None
    root: str


def write(config: Pipeline, folder: Path, root: Path) -> PipelineManifest:
    """Compile a pipeline from its config and write its files.

    Args:
        config: the pipeline's config.
        folder: the folder to write into; each existing file is replaced in one step.
        root: ROOT, as the IR names it. A run may use another one.

    Raises:
        UsageError: another pipeline in the folder has its name.
    """
    from benison.pipelines.compilation import compiling

    collisions.refuse(folder, [collisions.of_config(config, root)])

    def compiled(ir: Path) -> Compiled:
        return compiling.for_all_runs(config, root, ir)

    ir, nodes = _write_ir(compiled, folder, config.name)
    workers = {f"Tuner.{name}": m.tuner.workers for name, m in config.ensemble.members.items() if m.tuner}
    nodes = [replace(node, helpers=workers.get(node.id, 1) - 1) for node in nodes]
    _write(folder / config.name / CONFIG, json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
    airflow, spans = config.airflow, config.spans
    dated = {"first": spans.first, "every": spans.every, "first_number": 1} if spans and spans.first else None
    ensemble = ("ensemble",) if len(config.ensemble.members) > 1 else ()
    return _finish(
        PipelineManifest(
            **_common(config.name, ir, nodes, airflow),
            description=visible(config.description),  # PostgreSQL stores no NUL
            doc=visible(manifest_texts.doc(config)),
            tags=tuple(dict.fromkeys(("benison", config.problem, *ensemble, *airflow.tags))),
            config=f"{config.name}/{CONFIG}",
            parameters=parameters(config),
            schedule=config.schedule,
            spans=dated,
            assets={"model": asset(config.name, "model"), "spans": asset(config.name, "spans") if spans else None},
            import_path=(),
            source=str(config.source),
            root=str(root),
        ),
        folder,
    )


def write_any(
    pipeline: TfxPipeline, folder: Path, *, description: str = "", airflow: AirflowConfig | None = None
) -> PipelineManifest:
    """Compile any `tfx.dsl.Pipeline`; its runtime parameters become the fields of the form.

    Args:
        pipeline: written by hand, or built from a config.
        folder: see `write`.
        description: one line.
        airflow: owners, tags, retries and the like.

    Raises:
        UsageError: its name cannot be a file's name or is used by another pipeline in the folder, or another process
            cannot import one of its components.
    """
    from benison.pipelines.compilation.compiled import compile_to

    name = pipeline.pipeline_info.pipeline_name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UsageError(f"pipeline {name!r}: expected a name of letters, digits, '_', '-' and '.'")
    airflow = airflow or AirflowConfig()
    collisions.refuse(folder, [collisions.Compiled(name)])
    ir, nodes = _write_ir(lambda file: compile_to(pipeline, file), folder, name)
    return _finish(
        PipelineManifest(
            **_common(name, ir, nodes, airflow),
            description=visible(description),
            doc=visible(manifest_texts.doc_of_any(name, description, [node.id for node in nodes])),
            tags=tuple(dict.fromkeys(("benison", *airflow.tags))),
            config=None,
            parameters=(*_runtime_parameters(ir), FormField(CACHE, "boolean", True, manifest_texts.CACHE)),
            schedule=None,
            spans=None,
            assets={"model": asset(name, "model"), "spans": None},
            import_path=tuple(modules.import_path()),
            source=None,
            root="",
        ),
        folder,
    )


def config_of(file: Path, pipeline: PipelineManifest, values: Mapping[str, Any]) -> Pipeline | None:
    """Return the config of a pipeline with a run's values in it; None for a pipeline that was written in Python.

    Args:
        file: the pipeline's manifest.
        pipeline: what is in it.
        values: by dotted key of the config.

    Raises:
        UsageError: the values are not valid together.
    """
    if pipeline.config is None:
        return None
    return with_values(json.loads((file.parent / pipeline.config).read_text(encoding="utf-8")), values)


def read(file: Path) -> PipelineManifest:
    """Read a manifest.

    Raises:
        UsageError: the file is missing or is not a manifest of this format.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data.get("manifest") != FORMAT:
            raise ValueError(f"format {data.get('manifest')!r}, expected {FORMAT}; compile it again")
        nodes = tuple(Task(**{**node, "upstream": tuple(node["upstream"])}) for node in data["nodes"])
        fields = tuple(FormField(**field) for field in data["parameters"])
        known = {key: data[key] for key in PipelineManifest.__dataclass_fields__}
        return PipelineManifest(**{**known, "nodes": nodes, "parameters": fields})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file}: not a manifest written by this version's `benison compile`: {error}") from error


def asset(name: str, key: str) -> str:
    """Return the URI of a pipeline's asset; the key is `model` or `spans`."""
    return f"benison://{name}/{key}"


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
    """Compile into a temporary file, and write the IR without its metadata connection."""
    target = folder / name / IR
    temporary = target.with_name(f".{IR}.{uuid.uuid4().hex}")
    try:
        pipeline: Compiled = compiled(temporary)
        ir = json.loads(temporary.read_text(encoding="utf-8"))
    finally:
        temporary.unlink(missing_ok=True)
    _write(target, json.dumps(_without_store(ir), indent=2) + "\n")
    groups: dict[str, str] = {}
    for node in pipeline.nodes:
        groups[node.id] = manifest_texts.group(node.kind, [groups[upstream] for upstream in node.upstream])
    return ir, [
        Task(node.id, node.kind, groups[node.id], node.upstream, manifest_texts.of_node(node.id, node.kind))
        for node in pipeline.nodes
    ]


def _without_store(ir: dict[str, Any]) -> dict[str, Any]:
    """Remove the metadata connection from an IR, because it holds a password; SQLite's has none and stays."""
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
    """Yield one field per runtime parameter, in the order of the IR."""
    seen = set(_TFX_PARAMETERS)
    for mapping in mappings(ir):
        parameter = mapping.get("runtimeParameter")
        if isinstance(parameter, Mapping) and parameter.get("name") not in seen:
            name = parameter["name"]
            seen.add(name)
            default = next(iter(parameter.get("defaultValue", {}).values()), None)
            field_type = _TYPES[parameter.get("type", "STRING")]
            if field_type == "integer" and default is not None:
                default = int(default)  # protobuf's JSON holds integers as text
            yield FormField(
                name,
                field_type,
                default,
                "Runtime parameter of the pipeline",
                minimum=None if field_type == "string" else min(-LARGEST, default or 0),
                maximum=None if field_type == "string" else max(LARGEST, default or 0),
                nullable=default is None,
                max_length=max(LONGEST, len(default or "")) if field_type == "string" else None,
            )


def _finish(manifest: PipelineManifest, folder: Path) -> PipelineManifest:
    """Write the manifest and then the DAG file, so that the files that each of them reads exist before it does."""
    _write(folder / f"{manifest.name}.json", json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n")
    write_dag_file(folder, manifest.name)
    return manifest


def write_dag_file(folder: Path, name: str) -> None:
    """Write the file that has Airflow make the DAGs of the manifest beside it."""
    _write(folder / f"{name}{DAG_FILE}", _DAG_FILE.format(name=name))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_file.write(file, text)
