"""The command `benison-model-server`, which has the command line of tensorflow_model_server."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benison.serving.errors import BenisonError, UsageError
from benison.serving.server import descriptors, flags, freed_memory, settings, text_protos, unix_socket
from benison.serving.server.batching import limits as batching_limits
from benison.serving.server.batching.limits import BatchLimits
from benison.serving.server.flags import Flags
from benison.serving.server.observing import logs, tracing
from benison.serving.server.settings import ServerSettings
from benison.serving.visible_text import visible

EXIT_CUT_OFF = 3  # runs were in progress when the process ended
_UNLOAD_SECONDS = 5.0  # after BENISON_DRAIN_SECONDS
_SWITCH_SECONDS = 0.0005
_NOT_FOR_OTHERS = 0o117  # permissions that a socket does not have
_PATIENCE_SECONDS = 10.0  # at the start, for models that still load when another one is available
_WRITING_SECONDS = 0.1  # in which an editor writes a config file
_DECODED = 4  # times the largest body: the memory of its values and of their tensors
_log = logging.getLogger("benison-model-server")


def main() -> None:
    """Run the command and exit."""
    sys.exit(serve(sys.argv[1:]))


def serve(
    argv: Sequence[str],
    when_ready: Callable[[], None] | None = None,
    *,
    metrics_path: str = "",
    trusted_folder: Path | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        argv: flags of tensorflow_model_server, without the command.
        when_ready: called once, after the ports are open.
        metrics_path: path of the Prometheus page if no flag names a monitoring config; empty: no page.
        trusted_folder: the folder of models whose pushed versions are trusted; None: none. Only a
            caller that knows them may name it, because a record of pushes in a folder says what its owner wants.

    Returns:
        The exit code: 0 after a signal, 2 for a wrong command line, 1 if a model cannot be served at the start. If runs
        do not end in time after a signal, the process ends with EXIT_CUT_OFF instead.
    """
    if {"--help", "-h"} & set(argv):
        _print(flags.usage())
        return 0
    try:
        parsed, flag_warnings = flags.parse(argv)
        if parsed.version:
            _print_versions()
            return 0
        server_settings = settings.read(os.environ)
        _silence_tensorflow()
        freed_memory.use_one_heap()
        logs.configure(server_settings.log)
        limits, limit_warnings = _batch_limits(parsed, server_settings)
        for warning in [*flag_warnings, *limit_warnings]:
            _log.warning("%s", warning)
        trusted = os.path.realpath(trusted_folder) if trusted_folder else ""
        return _run(_serve(parsed, server_settings, limits, when_ready, metrics_path, trusted))
    except BenisonError as error:
        print(visible(f"benison-model-server: {error}"), file=sys.stderr)
        return error.exit_code


def _print(text: str) -> None:
    """Print a text, all of it or, as in `--help | head`, as much as the reader takes."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python flushes once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(work: Coroutine[Any, Any, int]) -> int:
    """Run the server on uvloop, or on asyncio where uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    loop = uvloop.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        return int(loop.run_until_complete(work))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _serve(
    parsed: Flags,
    server_settings: ServerSettings,
    limits: BatchLimits,
    when_ready: Callable[[], None] | None,
    metrics_path: str,
    trusted_folder: str,
) -> int:
    from benison.serving.server.engines import lean_tensorflow

    if not parsed.prefer_tflite_model:  # its interpreter is in TensorFlow's own package
        lean_tensorflow.load()

    from benison.serving.server import grpc_api, model_config
    from benison.serving.server.batching.sharing import ASKED_BY_FLAG, SharingPolicy
    from benison.serving.server.engines import loading
    from benison.serving.server.http import HttpServer, Limits
    from benison.serving.server.large_bodies.decoder import Decoder
    from benison.serving.server.lifecycle import Models
    from benison.serving.server.observing import observers
    from benison.serving.server.rest.api import RestApi, cors_headers
    from benison.serving.server.rest.inline_predict import InlinePredict
    from benison.serving.server.service import Service

    # By default a thread that loads a version may run for 5 ms before the event loop gets its turn again.
    sys.setswitchinterval(_SWITCH_SECONDS)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    config = (
        model_config.read(parsed.model_config_file)
        if parsed.model_config_file
        else model_config.single_model(parsed.model_name, parsed.model_base_path)
    )
    options = replace(
        _load_options(parsed),
        refuse_operations=server_settings.refuse_ops,
        trusted_folder=trusted_folder if server_settings.verify else "",
    )
    models = Models(
        partial(loading.load, options=options),
        limits,
        load_threads=parsed.num_load_threads,
        max_retries=parsed.max_num_load_retries,
        retry_seconds=parsed.load_retry_interval_micros / 1e6,
        allow_new_labels=parsed.allow_version_labels_for_unavailable_models,
        fast_paths=server_settings.fast_paths,
        plain_models=server_settings.plain_models,
        verify=server_settings.verify,
        policy=SharingPolicy(server_settings.share_runs, ASKED_BY_FLAG if parsed.enable_batching else ""),
        follow_links=server_settings.follow_links,
    )
    trace = tracing.configure(os.environ)
    active: list[observers.Observer] = [trace] if trace else []
    if server_settings.access_log:
        active.append(logs.AccessLog(server_settings.access_log))  # after the trace, because it logs the trace id
    service = (observers.ObservedService if active else Service)(
        models,
        check_methods=parsed.enable_signature_method_name_check,
        as_tensor_content=parsed.enable_serialization_as_tensor_content,
        admin_token=server_settings.admin_token,
        open_reload=server_settings.open_reload,
        show_paths=server_settings.loopback_only,
    )
    metrics_path = _metrics_path(parsed) if parsed.monitoring_config_file else metrics_path
    decoder = Decoder(server_settings.max_body_bytes, _DECODED * server_settings.max_body_bytes)
    rest = RestApi(service, decoder, parsed.rest_api_timeout_in_ms, parsed.rest_api_enable_cors_support, metrics_path)
    headers = cors_headers(parsed.rest_api_enable_cors_support)
    inline = InlinePredict(service, parsed.rest_api_timeout_in_ms, headers)
    descriptor_limit = descriptors.raise_limit()
    max_connections = descriptors.connections_within(server_settings.max_connections, descriptor_limit)
    if max_connections < server_settings.max_connections:
        _log.warning(
            "The system allows %d open files, so %d HTTP connections are accepted instead of %d; raise `ulimit -n`",
            descriptor_limit,
            max_connections,
            server_settings.max_connections,
        )
    http = HttpServer(
        rest.answer,
        Limits(
            server_settings.max_body_bytes,
            max_connections,
            server_settings.slow_client_seconds,
            server_settings.max_held_bytes,
        ),
        begin=observers.begin(inline.begin, rest.answer, active) if active else inline.begin,
        error_headers=headers,
        host_names=server_settings.host_names,
    )
    grpc_server = grpc_api.build(
        service,
        stop,
        health=parsed.enable_grpc_healthcheck_service,
        channel_arguments=parsed.grpc_channel_arguments,
        max_message_bytes=server_settings.max_body_bytes,
        max_memory=_DECODED * server_settings.max_body_bytes,
        max_held_bytes=server_settings.max_held_bytes,
        handshake_seconds=server_settings.slow_client_seconds,
        interceptors=[observers.GrpcInterceptor(active)] if active else [],
    )
    polls = [
        asyncio.create_task(freed_memory.give_back_regularly()),
        asyncio.create_task(_poll_folders(models, parsed.file_system_poll_wait_seconds)),
        asyncio.create_task(models.watch_runs(server_settings.hung_seconds)),
        asyncio.create_task(_end_after(stop, server_settings.drain_seconds, models)),
    ]
    try:
        if not await _completes_before(stop, asyncio.to_thread(_prepare, options, server_settings.op_libraries)):
            return 0
        if not await _completes_before(stop, models.replace(config)):
            return 0
        if parsed.model_config_file and parsed.model_config_file_poll_wait_seconds > 0:
            polls.append(asyncio.create_task(_poll_config(models, parsed)))
        if not await _completes_before(stop, models.wait_for_start(_PATIENCE_SECONDS)):
            return 0
        await _listen_grpc(grpc_server, parsed, server_settings)
        if parsed.rest_api_port:
            await _listen_http(http, parsed.rest_api_port, server_settings)
        if when_ready:
            when_ready()
        await stop.wait()
        _log.info("Stopping: finishing the accepted requests", extra={"event": "stopping"})
        await asyncio.gather(
            http.drain(server_settings.drain_seconds), grpc_api.drain(grpc_server, server_settings.drain_seconds)
        )
        return 0
    finally:
        for task in polls:
            task.cancel()
        await grpc_server.stop(0)
        await decoder.close()
        await models.close()
        if trace:
            await asyncio.to_thread(trace.close)
        if models.runs_in_progress():
            _end_process(models)


async def _end_after(stop: asyncio.Event, drain_seconds: float, models: Any) -> None:
    """End the process some time after the stop, whatever still runs: a load, an unload, or a run that does not end."""
    await stop.wait()
    # A thread, because Python waits for the threads of loads after the event loop has ended.
    timer = threading.Timer(drain_seconds + _UNLOAD_SECONDS, _end_process, [models])
    timer.daemon = True
    timer.start()


def _end_process(models: Any) -> None:
    """End the process at once; its exit code says whether runs were in progress."""
    runs = models.runs_in_progress()
    if runs:
        _log.error("Stopping: %d runs have not ended; the process ends without them", runs)
    else:
        _log.warning("Stopping: a version is still being loaded or unloaded; the process ends without it")
    logging.shutdown()  # writes what waits
    os._exit(EXIT_CUT_OFF if runs else 0)


def _prepare(options: Any, libraries: Sequence[str] = ()) -> None:
    """Prepare TensorFlow and the user's libraries of operations once, and exclude its objects from garbage collection.

    TensorFlow's modules alone have a third of a million objects. A full collection that walks through them stops all
    requests for a quarter of a second, every few seconds under load and at each unload. Versions are loaded later, so
    their objects are still collected.
    """
    import gc

    from benison.serving.server.engines import op_libraries, saved_model

    saved_model.prepare(options)
    op_libraries.load(libraries)
    gc.collect()
    gc.freeze()


async def _completes_before(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run a coroutine; cancel it and return False if the server is stopped first."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return False
    stopped.cancel()
    await task
    return True


async def _poll_folders(models: Any, seconds: float) -> None:
    while seconds > 0:
        await asyncio.sleep(seconds)
        try:
            await models.poll()
        except Exception:
            _log.exception("Looking for new versions failed; retrying at the next poll")


async def _poll_config(models: Any, parsed: Flags) -> None:
    """Poll the config file and apply it if it differs from the current config, which a reload RPC may have changed."""
    from benison.serving.server import model_config
    from benison.serving.server.config_follower import ConfigFollower

    file = parsed.model_config_file
    follower, last = ConfigFollower(models, file), models.config
    try:
        while True:
            await asyncio.sleep(parsed.model_config_file_poll_wait_seconds)
            try:
                config = await asyncio.to_thread(model_config.read, file)
                if config != last:  # somebody may still be writing it in place
                    await asyncio.sleep(_WRITING_SECONDS)
                    if await asyncio.to_thread(model_config.read, file) != config:
                        continue
                last = config
                follower.follow(config)
            except BenisonError as error:
                _log.error("%s: not applied: %s", file, error)
            except Exception:
                _log.exception("%s: not applied; reading it again at the next poll", file)
    finally:
        follower.close()


async def _listen_grpc(server: Any, parsed: Flags, server_settings: ServerSettings) -> None:
    from benison.serving.server import grpc_api

    tls = grpc_api.credentials(parsed.ssl_config_file) if parsed.ssl_config_file else None
    addresses = [f"{_bracketed(address)}:{parsed.port}" for address in server_settings.bind] if parsed.port else []
    if parsed.grpc_socket_path:
        unix_socket.check_free(parsed.grpc_socket_path)
        addresses.append(f"unix:{parsed.grpc_socket_path}")
    for address in addresses:
        try:
            # Who may connect to the socket may change what is served: the owner, and the group if the umask allows it.
            with _umask(_NOT_FOR_OTHERS):
                bound = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
        except RuntimeError:
            bound = 0
        if bound:
            _log.info("Running gRPC ModelServer at %s ...", address, extra={"event": "listening", "address": address})
        elif address.startswith("unix:"):
            raise UsageError(
                f"--grpc_socket_path={parsed.grpc_socket_path}: cannot be opened; expected at most 107 bytes, "
                "in a folder that exists and is writable"
            )
        elif server_settings.bind_is_explicit or address != f"[::1]:{parsed.port}":
            raise UsageError(
                f"--port={parsed.port}: cannot listen on {address}: it is in use, or is not an address of this machine"
            )
    await server.start()


@contextmanager
def _umask(more: int) -> Iterator[None]:
    """Take permissions from the files that are made in this block."""
    old = os.umask(more)
    os.umask(old | more)
    try:
        yield
    finally:
        os.umask(old)


async def _listen_http(http: Any, port: int, server_settings: ServerSettings) -> None:
    for address in server_settings.bind:
        try:
            await http.listen(address.strip("[]"), port)
        except OSError as error:
            if server_settings.bind_is_explicit or address != "::1":
                raise UsageError(f"--rest_api_port={port}: cannot listen on {address}: {error.strerror}") from None
        else:
            host_port = f"{_bracketed(address)}:{port}"
            _log.info(
                "Exporting HTTP/REST API at:%s ...", host_port, extra={"event": "listening", "address": host_port}
            )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address and not address.startswith("[") else address


def _batch_limits(parsed: Flags, server_settings: ServerSettings) -> tuple[BatchLimits, list[str]]:
    if parsed.enable_batching:
        return batching_limits.read_parameters(parsed.batching_parameters_file, server_settings.max_queue)
    return BatchLimits(max_queue=server_settings.max_queue), []


def _load_options(parsed: Flags) -> Any:
    from benison.serving.server.engine import LoadOptions

    session_threads = parsed.tensorflow_session_parallelism
    return LoadOptions(
        tags=tuple(parsed.saved_model_tags.split(",")),
        prefer_tflite=parsed.prefer_tflite_model,
        warm_up=parsed.enable_model_warmup,
        warm_up_iterations=max(parsed.num_request_iterations_for_warmup, 1),
        # One thread each: one batch keeps a core busy, and more threads would only wait for each other.
        intra_op_threads=parsed.tensorflow_intra_op_parallelism or session_threads or 1,
        inter_op_threads=parsed.tensorflow_inter_op_parallelism or session_threads or 1,
        gpu_memory_fraction=parsed.per_process_gpu_memory_fraction,
        session_config_file=parsed.tensorflow_session_config_file,
    )


def _metrics_path(parsed: Flags) -> str:
    from benison.serving.server import metrics

    config = text_protos.read(parsed.monitoring_config_file, text_protos.message_class("MonitoringConfig")())
    return (config.prometheus_config.path or metrics.PATH) if config.prometheus_config.enable else ""


def _silence_tensorflow() -> None:
    """Turn off TensorFlow's own logs, which would hide the server's."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _print_versions() -> None:
    from importlib.metadata import PackageNotFoundError, version

    for title, package in (("TensorFlow ModelServer: Benison", "benison"), ("TensorFlow Library:", "tensorflow")):
        try:
            _print(f"{title} {version(package)}")
        except PackageNotFoundError:
            _print(f"{title} unknown")
