"""One node of a compiled pipeline: the same call behind the CLI, Airflow and the notebook.

    python -m pipelines.node --ir FILE --node ID --run-id RUN [--param k=v] [--root DIR] [--no-cache]

The last line on stdout is the result as JSON. Exit code 0; 1 failed; 4 invalid data.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines import locks
from serving.errors import BenisonError, DataError, NodeFailed

if TYPE_CHECKING:
    from tfx.orchestration.metadata import Metadata
    from tfx.proto.orchestration import pipeline_pb2

State = Literal["complete", "cached", "skipped", "failed", "invalid", "not_blessed"]
EXIT_CODES: Mapping[str, int] = {"failed": 1, "invalid": 4}
FINGERPRINT = "benison_fingerprint"  # execution property that makes the cache key depend on content


@dataclass(frozen=True)
class Result:
    """What became of a node.

    Attributes:
        state: `not_blessed` is a node that ran well and refused a model.
        outputs: by key, each artifact's `uri`, `type` and `properties`.
        reason: why it failed, was skipped or refused; else empty.
    """

    state: State
    outputs: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    reason: str = ""

    @property
    def exit_code(self) -> int:
        """Of the process that ran the node."""
        return EXIT_CODES.get(self.state, 0)


def run(
    ir: Path,
    node_id: str,
    run_id: str,
    *,
    root: Path,
    params: Mapping[str, str] | None = None,
    cache: bool = True,
) -> Result:
    """Runs one node by TFX's launcher and reads from ML Metadata what became of it.

    Args:
        ir: compiled pipeline (JSON).
        node_id: which node.
        run_id: the same for all nodes of a run.
        root: ROOT; its `metadata.sqlite` is used where the pipeline names no metadata store.
        params: values of the pipeline's runtime parameters.
        cache: whether an earlier execution with the same inputs, properties and code may stand in.

    Returns:
        The result; a failure is a result too, with its traceback on stderr.
    """
    from tfx.orchestration.portable import launcher

    pipeline = load_ir(ir, run_id, params or {})
    node = _find(pipeline, node_id)
    executor, driver, connection = _deployment(pipeline, node_id, root)
    if executor is not None:
        from pipelines import cache_key

        node.parameters.parameters[FINGERPRINT].field_value.string_value = cache_key.of_node(node, executor, driver)
    if not cache:
        node.execution_options.caching_options.enable_cache = False
    try:
        with locks.node(root):
            launcher.Launcher(
                pipeline_node=node,
                mlmd_connection=connection,
                pipeline_info=pipeline.pipeline_info,
                pipeline_runtime_spec=pipeline.runtime_spec,
                executor_spec=executor,
                custom_driver_spec=driver,
            ).launch()
    except Exception as error:
        traceback.print_exc()
        _close_failed(connection, node)
        return Result("invalid" if isinstance(error, DataError) else "failed", reason=_reason(error))
    return _read_result(connection, node)


def load_ir(path: Path, run_id: str, params: Mapping[str, str]) -> pipeline_pb2.Pipeline:
    """Reads a compiled pipeline and puts the run's id and parameters into it."""
    from google.protobuf import json_format
    from tfx.orchestration.portable import runtime_parameter_utils
    from tfx.proto.orchestration import pipeline_pb2

    pipeline = json_format.Parse(path.read_text(), pipeline_pb2.Pipeline())
    runtime_parameter_utils.substitute_runtime_parameter(pipeline, {**params, "pipeline-run-id": run_id})
    return pipeline


def _find(pipeline: pipeline_pb2.Pipeline, node_id: str) -> pipeline_pb2.PipelineNode:
    import difflib

    nodes = {n.pipeline_node.node_info.id: n.pipeline_node for n in pipeline.nodes}
    if node_id not in nodes:
        close = difflib.get_close_matches(node_id, nodes, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(nodes)}"
        raise NodeFailed(f"{pipeline.pipeline_info.id}: no node {node_id!r}; {hint}")
    return nodes[node_id]


def _deployment(pipeline: pipeline_pb2.Pipeline, node_id: str, root: Path) -> tuple[Any, Any, Metadata]:
    """The node's executor and driver, and the metadata store: the pipeline's own, else SQLite in ROOT."""
    from tfx.orchestration import metadata
    from tfx.orchestration.local import runner_utils
    from tfx.proto.orchestration import executable_spec_pb2

    deployment = runner_utils.extract_local_deployment_config(pipeline)
    executor = runner_utils.extract_executor_spec(deployment, node_id)
    if isinstance(executor, executable_spec_pb2.BeamExecutableSpec):
        arguments = executor.beam_pipeline_args
        # Beam's default runner tries to download a binary at run time; this one is in the package.
        if not any(a.startswith("--runner") for a in arguments):
            arguments.append("--runner=FnApiRunner")
    kind = deployment.metadata_connection_config.WhichOneof("connection_config")
    config = (
        getattr(deployment.metadata_connection_config, kind)
        if kind
        else metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    )
    return executor, runner_utils.extract_custom_driver_spec(deployment, node_id), metadata.Metadata(config)


def _read_result(connection: Metadata, node: pipeline_pb2.PipelineNode) -> Result:
    """Asks ML Metadata: the launcher returns where inputs do not resolve, and lists wrong outputs when cached."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd
    from tfx.orchestration.portable.mlmd import execution_lib

    with connection as handle:
        execution = _execution(handle, node)
        if execution is None:
            return Result("skipped", reason="its condition does not hold")
        artifacts = execution_lib.get_output_artifacts(handle, execution.id)
    outputs = {key: [_describe(a) for a in values] for key, values in artifacts.items()}
    if execution.last_known_state not in (mlmd.Execution.COMPLETE, mlmd.Execution.CACHED):
        return Result("failed", outputs, _unresolved(execution) or "it has no execution that ended well")
    for described in (d for values in outputs.values() for d in values):
        if described["type"] == "ModelBlessing" and described["properties"].get("blessed") == 0:
            return Result(
                "not_blessed", outputs, str(described["properties"].get("reason", "the model is not blessed"))
            )
    cached = execution.last_known_state == mlmd.Execution.CACHED
    # TFX publishes a Resolver and an Importer as if cached; neither computes anything.
    return Result("cached" if cached and node.HasField("execution_options") else "complete", outputs)


def _execution(handle: Any, node: pipeline_pb2.PipelineNode) -> Any:
    from tfx.orchestration.portable.mlmd import context_lib, execution_lib

    contexts = context_lib.prepare_contexts(handle, node.contexts)
    found = execution_lib.get_executions_associated_with_all_contexts(handle, contexts)
    return max(found, key=lambda e: e.id) if found else None


def _close_failed(connection: Metadata, node: pipeline_pb2.PipelineNode) -> None:
    """Marks an execution as failed that the launcher left as running, which it does when a driver raises."""
    from tfx.orchestration.portable import execution_publish_utils
    from tfx.orchestration.portable.mlmd import context_lib, execution_lib

    with connection as handle:
        execution = _execution(handle, node)
        if execution is not None and execution_lib.is_execution_active(execution):
            contexts = context_lib.prepare_contexts(handle, node.contexts)
            execution_publish_utils.publish_failed_execution(handle, contexts, execution.id)


def _unresolved(execution: Any) -> str:
    """What the launcher wrote about inputs that do not resolve: the last line that says something."""
    for name in ("__execution_result__", "execution_result"):
        text = execution.custom_properties[name].string_value if name in execution.custom_properties else ""
        if text:
            lines = [line for line in text.replace("\\n", "\n").splitlines() if line.strip(' "}')]
            return lines[-1].strip() if lines else text
    return ""


def _describe(artifact: Any) -> dict[str, Any]:
    properties = {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in artifact.mlmd_artifact.custom_properties.items()
        if value.WhichOneof("value") in ("int_value", "double_value", "string_value")
    }
    return {"uri": artifact.uri, "type": artifact.type_name, "properties": properties}


def _reason(error: Exception) -> str:
    if isinstance(error, BenisonError):
        return str(error)
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")


def main() -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.node")
    parser.add_argument("--ir", type=Path, required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--param", action="append", default=[], metavar="k=v")
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("BENISON_ROOT", ".benison")))
    parser.add_argument("--no-cache", action="store_true")
    args = parser.parse_args()
    params = dict(p.split("=", 1) for p in args.param)
    try:
        result = run(args.ir, args.node, args.run_id, root=args.root.absolute(), params=params, cache=not args.no_cache)
    except BenisonError as error:
        result = Result("failed", reason=str(error))
    sys.stdout.flush()
    print(json.dumps(asdict(result)))
    sys.exit(result.exit_code)


if __name__ == "__main__":
    main()
