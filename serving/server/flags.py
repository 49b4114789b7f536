"""The flags of tensorflow_model_server, with its spelling and defaults (from main.cc and server.h, July 2026)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from benison.serving.close_names import closest
from benison.serving.errors import UsageError


def _flag(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Flags:
    """The flags that have an effect; each attribute has the name of its flag."""

    port: int = _flag(8500, "TCP port of the gRPC API; 0: no port")
    grpc_socket_path: str = _flag("", "Unix socket of the gRPC API")
    rest_api_port: int = _flag(0, "TCP port of the REST API; 0: no REST API")
    rest_api_timeout_in_ms: int = _flag(30000, "time limit of a REST request (milliseconds)")
    rest_api_enable_cors_support: bool = _flag(False, "add CORS headers to responses")
    enable_batching: bool = _flag(
        False, "read batching parameters from a file (without it, requests are still batched)"
    )
    batching_parameters_file: str = _flag("", "text proto BatchingParameters; requires --enable_batching")
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "allow a new label to name a version that is not loaded"
    )
    model_config_file: str = _flag("", "text proto ModelServerConfig; replaces --model_name and --model_base_path")
    model_config_file_poll_wait_seconds: int = _flag(0, "seconds between reads of that file; 0: read it once")
    model_name: str = _flag("default", "name of the model")
    model_base_path: str = _flag("", "folder of the model, with one folder per version")
    num_load_threads: int = _flag(0, "number of versions that load at the same time; 0: one")
    max_num_load_retries: int = _flag(5, "number of retries of a failed load")
    load_retry_interval_micros: int = _flag(60_000_000, "time between retries (microseconds)")
    file_system_poll_wait_seconds: int = _flag(1, "seconds between searches for new versions; 0: search once")
    tensorflow_session_parallelism: int = _flag(0, "number of threads, both within and between operations")
    tensorflow_intra_op_parallelism: int = _flag(0, "number of threads within an operation; 0: one")
    tensorflow_inter_op_parallelism: int = _flag(0, "number of operations that run at the same time; 0: one")
    tensorflow_session_config_file: str = _flag("", "text proto ConfigProto")
    per_process_gpu_memory_fraction: float = _flag(0.0, "share of the GPU's memory, 0 to 1; 0: TensorFlow chooses")
    saved_model_tags: str = _flag("serve", "tags of the graph to load, separated by commas")
    prefer_tflite_model: bool = _flag(False, "load model.tflite if a version has one")
    enable_model_warmup: bool = _flag(
        True, "replay assets.extra/tf_serving_warmup_requests before a version becomes available"
    )
    num_request_iterations_for_warmup: int = _flag(0, "number of times that each warm-up request is replayed; 0: once")
    enable_signature_method_name_check: bool = _flag(
        False, "accept classify and regress only for signatures of that method"
    )
    ssl_config_file: str = _flag("", "text proto SSLConfig: TLS for gRPC")
    grpc_channel_arguments: str = _flag("", "gRPC channel arguments, as key=value pairs separated by commas")
    enable_grpc_healthcheck_service: bool = _flag(False, "offer grpc.health.v1.Health")
    enable_serialization_as_tensor_content: bool = _flag(False, "use tensor_content in gRPC responses")
    monitoring_config_file: str = _flag("", "text proto MonitoringConfig: Prometheus on the REST port")
    version: bool = _flag(False, "print versions and exit")


# Flags of TF Serving without effect here: the type of the value, and the reason for the warning.
WITHOUT_EFFECT: Mapping[str, tuple[type, str]] = {
    "rest_api_num_threads": (int, "requests are parsed by one event loop"),
    "grpc_max_threads": (int, "requests are parsed by one event loop"),
    "num_unload_threads": (int, "versions are unloaded as soon as their last request ends"),
    "enable_per_model_batching_parameters": (bool, "all models share --batching_parameters_file"),
    "flush_filesystem_caches": (bool, "file system caches are not flushed"),
    "use_alts_credentials": (bool, "ALTS is not supported; use --ssl_config_file"),
    "platform_config_file": (str, "tensorflow is the only platform"),
    "remove_unused_fields_from_bundle_metagraph": (bool, "the graph is not changed"),
    "num_tflite_pools": (int, "a TFLite model has one interpreter"),
    "num_tflite_interpreters_per_pool": (int, "a TFLite model has one interpreter"),
    "xla_cpu_compilation_enabled": (bool, "TensorFlow's own setting is left alone"),
    "xla_gpu_compilation_enabled": (bool, "TensorFlow's own setting is left alone"),
    "enable_profiler": (bool, "the profiler service is not supported"),
    "thread_pool_factory_config_file": (str, "custom thread pools are not supported"),
    "mixed_precision": (str, "the graph runs as it was saved"),
    "skip_initialize_tpu": (bool, "TPUs are not supported"),
}

_WITH_EFFECT: Mapping[str, type] = {f.name: type(f.default) for f in fields(Flags)}
_BOOLS = {"true": True, "1": True, "t": True, "yes": True, "false": False, "0": False, "f": False, "no": False}


def parse(argv: Sequence[str]) -> tuple[Flags, list[str]]:
    """Parse a command line.

    It accepts `--flag=value`, `--flag value`, and for booleans also `--flag` and `--noflag`. If a flag is repeated, the
    last value is used.

    Args:
        argv: the arguments, without the command.

    Returns:
        The flags, and one warning per flag of TF Serving that has no effect here.

    Raises:
        UsageError: with one line per unknown flag, wrong value or contradiction.
    """
    values: dict[str, Any] = {}
    warnings: dict[str, str] = {}
    problems: list[str] = []
    remaining = list(argv)
    while remaining:
        argument = remaining.pop(0)
        try:
            name, value_type, text = _split(argument, remaining)
            value = _value(name, value_type, text)
        except UsageError as error:
            problems.append(str(error))
            continue
        if name in WITHOUT_EFFECT:
            warnings[name] = f"--{name} has no effect: {WITHOUT_EFFECT[name][1]}"
        else:
            values[name] = value
    flags = Flags(**values)
    if not problems and not flags.version:
        problems = _contradictions(flags)
    if problems:
        raise UsageError("\n".join(problems))
    return flags, list(warnings.values())


def usage() -> str:
    """Return the text of --help."""
    lines = ["usage: benison-model-server [flags]", "", "Flags of tensorflow_model_server:"]
    for f in fields(Flags):
        default = str(f.default).lower() if isinstance(f.default, bool) else repr(f.default)
        lines.append(f"  --{f.name}={default}")
        lines.append(f"        {f.metadata['help']}")
    lines += ["", f"Accepted without effect, with a warning: {', '.join('--' + n for n in sorted(WITHOUT_EFFECT))}"]
    lines += ["", "Environment variables of Benison: BENISON_BIND, BENISON_ADMIN_TOKEN, BENISON_MAX_QUEUE, …"]
    lines += ["docs/model-server.md lists all of them."]
    return "\n".join(lines)


def _split(argument: str, remaining: list[str]) -> tuple[str, type, str]:
    """Return name, type and text of an argument; pop the text from the remaining arguments if it is not in this one."""
    body = argument.removeprefix("--")
    if body == argument or not body:
        raise UsageError(f"unknown argument {argument!r}; expected --flag=value")
    name, equals, text = body.partition("=")
    value_type = _value_type(name)
    if value_type is None and not equals and _value_type(name.removeprefix("no")) is bool:
        return name.removeprefix("no"), bool, "false"
    if value_type is None:
        raise UsageError(f"unknown flag --{name}{_did_you_mean(name)}")
    if equals:
        return name, value_type, text
    if value_type is bool:
        has_value = remaining and remaining[0].lower() in ("true", "false")
        return name, value_type, remaining.pop(0) if has_value else "true"
    if not remaining:
        raise UsageError(f"--{name}: no value; expected {_expected(value_type)}")
    return name, value_type, remaining.pop(0)


def _value_type(name: str) -> type | None:
    return _WITH_EFFECT.get(name) or (WITHOUT_EFFECT[name][0] if name in WITHOUT_EFFECT else None)


def _did_you_mean(name: str) -> str:
    match = closest(name, [*_WITH_EFFECT, *WITHOUT_EFFECT])
    return f"; did you mean --{match}?" if match else "; --help lists all flags"


def _value(name: str, value_type: type, text: str) -> Any:
    try:
        return _BOOLS[text.lower()] if value_type is bool else value_type(text)
    except (KeyError, ValueError):
        raise UsageError(f"--{name}: got {text!r}, expected {_expected(value_type)}") from None


def _expected(value_type: type) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[value_type]


def _contradictions(flags: Flags) -> list[str]:
    """Return the contradictions that TF Serving refuses at start."""
    problems = []
    if not flags.port and not flags.grpc_socket_path:
        problems.append("--port=0 without --grpc_socket_path: set at least one of them")
    if not flags.model_config_file and not flags.model_base_path:
        problems.append("neither --model_config_file nor --model_base_path is set: there is no model to serve")
    if flags.batching_parameters_file and not flags.enable_batching:
        problems.append("--batching_parameters_file is set without --enable_batching")
    if flags.rest_api_port and flags.rest_api_port == flags.port:
        problems.append(
            f"--rest_api_port={flags.rest_api_port} is the same as --port; gRPC and REST need different ports"
        )
    if (
        flags.tensorflow_session_parallelism
        > 0
        < min(flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism)
    ):
        problems.append(
            "--tensorflow_session_parallelism cannot be combined with --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism; set the first flag, or the other two"
        )
    for name in ("port", "rest_api_port"):
        if not 0 <= getattr(flags, name) <= 65535:
            problems.append(f"--{name}={getattr(flags, name)}: expected 0 to 65535")
    return problems
