"""tensorflow_model_server's flags, in its spelling and with its defaults (read in main.cc and server.h, July 2026)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from benison.serving.errors import UsageError


def _flag(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Flags:
    """The flags that are honoured; each attribute is one, under the same name."""

    port: int = _flag(8500, "TCP port of the gRPC API; 0 for none")
    grpc_socket_path: str = _flag("", "Unix socket of the gRPC API")
    rest_api_port: int = _flag(0, "TCP port of the REST API; 0 for none")
    rest_api_timeout_in_ms: int = _flag(30000, "time that a REST request may take (milliseconds)")
    rest_api_enable_cors_support: bool = _flag(False, "answer with CORS headers")
    enable_batching: bool = _flag(False, "take batching parameters from a file (requests are batched without it, too)")
    batching_parameters_file: str = _flag("", "text proto BatchingParameters; wants --enable_batching")
    allow_version_labels_for_unavailable_models: bool = _flag(False, "a new label may name a version not yet loaded")
    model_config_file: str = _flag("", "text proto ModelServerConfig; --model_name and --model_base_path are ignored")
    model_config_file_poll_wait_seconds: int = _flag(0, "how often that file is read again (seconds); 0: once")
    model_name: str = _flag("default", "name of the one model")
    model_base_path: str = _flag("", "folder of the one model, which holds a folder per version")
    num_load_threads: int = _flag(0, "versions that load at the same time; 0: one")
    max_num_load_retries: int = _flag(5, "how often a failed load is tried again")
    load_retry_interval_micros: int = _flag(60_000_000, "time between two tries (microseconds)")
    file_system_poll_wait_seconds: int = _flag(1, "how often versions are looked for (seconds); 0: once")
    tensorflow_session_parallelism: int = _flag(0, "threads of a session, within and between operations")
    tensorflow_intra_op_parallelism: int = _flag(0, "threads within an operation; 0: one")
    tensorflow_inter_op_parallelism: int = _flag(0, "operations at the same time; 0: one")
    tensorflow_session_config_file: str = _flag("", "text proto ConfigProto")
    per_process_gpu_memory_fraction: float = _flag(0.0, "share of the GPU's memory, 0 to 1; 0: TensorFlow chooses")
    saved_model_tags: str = _flag("serve", "tags of the graph to load, with commas between")
    prefer_tflite_model: bool = _flag(False, "load model.tflite where a version has one")
    enable_model_warmup: bool = _flag(True, "replay assets.extra/tf_serving_warmup_requests before a version serves")
    num_request_iterations_for_warmup: int = _flag(0, "how often each of them is replayed; 0: once")
    enable_signature_method_name_check: bool = _flag(False, "classify and regress only by their own method names")
    ssl_config_file: str = _flag("", "text proto SSLConfig, for gRPC")
    grpc_channel_arguments: str = _flag("", "key=value, with commas between")
    enable_grpc_healthcheck_service: bool = _flag(False, "offer grpc.health.v1.Health")
    enable_serialization_as_tensor_content: bool = _flag(False, "gRPC answers carry tensor_content")
    monitoring_config_file: str = _flag("", "text proto MonitoringConfig: Prometheus on the REST port")
    version: bool = _flag(False, "print versions and exit")


# Known to TF Serving, of no use here: the kind of value, and what the one warning says.
NOT_HONOURED: Mapping[str, tuple[type, str]] = {
    "rest_api_num_threads": (int, "requests are parsed by one event loop"),
    "grpc_max_threads": (int, "requests are parsed by one event loop"),
    "num_unload_threads": (int, "versions are unloaded as soon as their last request ends"),
    "enable_per_model_batching_parameters": (bool, "all models share --batching_parameters_file"),
    "flush_filesystem_caches": (bool, "the file system's caches are left alone"),
    "use_alts_credentials": (bool, "there is no ALTS; use --ssl_config_file"),
    "platform_config_file": (str, "there is one platform, tensorflow"),
    "remove_unused_fields_from_bundle_metagraph": (bool, "the graph is kept as it is"),
    "num_tflite_pools": (int, "a TFLite model has one interpreter"),
    "num_tflite_interpreters_per_pool": (int, "a TFLite model has one interpreter"),
    "xla_cpu_compilation_enabled": (bool, "TensorFlow's own setting is left alone"),
    "xla_gpu_compilation_enabled": (bool, "TensorFlow's own setting is left alone"),
    "enable_profiler": (bool, "there is no profiler service"),
    "thread_pool_factory_config_file": (str, "there are no custom thread pools"),
    "mixed_precision": (str, "the graph runs as it was saved"),
    "skip_initialize_tpu": (bool, "there is no TPU support"),
}

_HONOURED: Mapping[str, type] = {f.name: type(f.default) for f in fields(Flags)}
_BOOLS = {"true": True, "1": True, "t": True, "yes": True, "false": False, "0": False, "f": False, "no": False}


def parse(argv: Sequence[str]) -> tuple[Flags, list[str]]:
    """Parses a command line, without the command.

    Takes `--flag=value`, `--flag value`, and for truth values also `--flag` and `--noflag`. The last one counts.

    Returns:
        The flags, and one warning for each flag that TF Serving knows and this server cannot honour.

    Raises:
        UsageError: one line per unknown flag or wrong value.
    """
    values: dict[str, Any] = {}
    warnings: dict[str, str] = {}
    problems: list[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        try:
            name, kind, text = _split(argument, rest)
            value = _value(name, kind, text)
        except UsageError as error:
            problems.append(str(error))
            continue
        if name in NOT_HONOURED:
            warnings[name] = f"--{name} is known but not honoured: {NOT_HONOURED[name][1]}"
        else:
            values[name] = value
    flags = Flags(**values)
    if not problems and not flags.version:
        problems = _contradictions(flags)
    if problems:
        raise UsageError("\n".join(problems))
    return flags, list(warnings.values())


def usage() -> str:
    """The text of --help."""
    lines = ["usage: benison-model-server [flags]", "", "Flags (tensorflow_model_server's own):"]
    for f in fields(Flags):
        lines.append(f"  --{f.name}={str(f.default).lower() if isinstance(f.default, bool) else f.default!r}")
        lines.append(f"        {f.metadata['help']}")
    lines += ["", f"Known, with a warning instead of an effect: {', '.join('--' + n for n in sorted(NOT_HONOURED))}"]
    lines += ["Environment (Benison's own): BENISON_BIND, BENISON_ADMIN_TOKEN, BENISON_MAX_QUEUE, …; see the docs."]
    return "\n".join(lines)


def _split(argument: str, rest: list[str]) -> tuple[str, type, str]:
    """Name, kind and text of one argument; takes the text from the rest where the argument has none."""
    body = argument.removeprefix("--")
    if body == argument or not body:
        raise UsageError(f"unknown argument {argument!r}; expected --flag=value")
    name, equals, text = body.partition("=")
    kind = _kind(name)
    if kind is None and not equals and _kind(name.removeprefix("no")) is bool:
        return name.removeprefix("no"), bool, "false"
    if kind is None:
        raise UsageError(f"unknown flag --{name}{_did_you_mean(name)}")
    if equals:
        return name, kind, text
    if kind is bool:
        return name, kind, rest.pop(0) if rest and rest[0].lower() in ("true", "false") else "true"
    if not rest:
        raise UsageError(f"--{name}: no value; expected {_expected(kind)}")
    return name, kind, rest.pop(0)


def _kind(name: str) -> type | None:
    return _HONOURED.get(name) or (NOT_HONOURED[name][0] if name in NOT_HONOURED else None)


def _did_you_mean(name: str) -> str:
    close = difflib.get_close_matches(name, [*_HONOURED, *NOT_HONOURED], n=1)
    return f"; did you mean --{close[0]}?" if close else "; --help lists those there are"


def _value(name: str, kind: type, text: str) -> Any:
    try:
        return _BOOLS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise UsageError(f"--{name}: got {text!r}, expected {_expected(kind)}") from None


def _expected(kind: type) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]


def _contradictions(flags: Flags) -> list[str]:
    """What TF Serving, too, refuses to start with."""
    problems = []
    if not flags.port and not flags.grpc_socket_path:
        problems.append("--port=0 without --grpc_socket_path: at least one of them must be set")
    if not flags.model_config_file and not flags.model_base_path:
        problems.append("neither --model_config_file nor --model_base_path is given: nothing to serve")
    if flags.batching_parameters_file and not flags.enable_batching:
        problems.append("--batching_parameters_file is set without --enable_batching")
    if flags.rest_api_port and flags.rest_api_port == flags.port:
        problems.append(f"--rest_api_port={flags.rest_api_port} is the same as --port; gRPC and REST need one each")
    if (
        flags.tensorflow_session_parallelism
        > 0
        < min(flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism)
    ):
        problems.append(
            "--tensorflow_session_parallelism beside --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism: give the first or the other two"
        )
    for name in ("port", "rest_api_port"):
        if not 0 <= getattr(flags, name) <= 65535:
            problems.append(f"--{name}={getattr(flags, name)}: expected 0 to 65535")
    return problems
