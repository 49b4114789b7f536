"""TF Serving's gRPC API: PredictionService, ModelService and, if a flag turns it on, the standard health service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

import grpc

from benison.serving.errors import UsageError
from benison.serving.server import inference, model_config, text_protos
from benison.serving.server.batching.tasks import BatchTask, CallTask, PackedTensorsTask
from benison.serving.server.codec import tensors, wire
from benison.serving.server.codec.wire import LargeMessage, Parts
from benison.serving.server.engine import DEFAULT_SIGNATURE
from benison.serving.server.http import LAST_CALL_SECONDS
from benison.serving.server.inference import CLASSIFY, Call
from benison.serving.server.large_bodies.turns import Turns
from benison.serving.server.managed_version import ManagedVersion, State
from benison.serving.server.service import Service
from benison.serving.server.status import Code, RequestError, forget_frames, invalid

_GRPC = {code.value[0]: code for code in grpc.StatusCode}
_HEALTHY = (
    "",
    "ModelService",
    "PredictionService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
)
# Methods on tf.Examples: the function that makes the call, and the one that fills the result.
_EXAMPLE_METHODS: Mapping[str, tuple[Callable[..., Call], Callable[[Any, Mapping[str, Any], int], None]]] = {
    "Classify": (inference.classify_call, inference.fill_classification),
    "Regress": (inference.regress_call, inference.fill_regression),
}
Method = Callable[..., Awaitable[Any]]
_LARGE_METHODS = ("Predict", "Classify", "Regress", "MultiInference")
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class _Rules(NamedTuple):
    """Hold what is the same for every call; see `build`."""

    stopping: asyncio.Event
    max_memory: int
    turns: Turns


def build(
    service: Service,
    stopping: asyncio.Event,
    *,
    health: bool,
    channel_arguments: str,
    max_message_bytes: int,
    max_memory: int,
    max_held_bytes: int,
    handshake_seconds: float,
    interceptors: Sequence[Any] = (),
) -> Any:
    """Return a grpc.aio server with all services and no open port.

    Args:
        service: the models.
        stopping: an event; after it is set, new calls are refused. See `drain`.
        health: value of --enable_grpc_healthcheck_service.
        channel_arguments: key=value pairs, separated by commas.
        max_message_bytes: largest size of a request.
        max_memory: largest memory of the values of a request (bytes).
        max_held_bytes: largest total size of the large messages that are not answered yet.
        handshake_seconds: time in which a new connection must begin to speak HTTP/2.
        interceptors: interceptors of every call.

    Raises:
        UsageError: the channel arguments are not key=value pairs.
    """
    options = {
        "grpc.so_reuseport": 0,  # a port that is in use must be an error, not shared with another process
        "grpc.max_receive_message_length": max_message_bytes,
        "grpc.max_send_message_length": -1,
        "grpc.server_handshake_timeout_ms": int(handshake_seconds * 1000),
        **dict(_arguments(channel_arguments)),  # in a dict, because gRPC uses the first of two equal names
    }
    server = grpc.aio.server(interceptors=interceptors, options=list(options.items()))
    rules = _Rules(stopping, max_memory, Turns(max_message_bytes, max_held_bytes))
    server.add_generic_rpc_handlers((_prediction_handler(service, rules), _model_handler(service, rules)))
    if health:
        server.add_generic_rpc_handlers((_health_handler(service, stopping),))
    return server


async def drain(server: Any, seconds: float) -> None:
    """Stop a server whose `stopping` event is set; accepted calls may finish within that time (seconds).

    When gRPC stops, it cancels the calls that have arrived but were not dispatched. So this first waits for
    LAST_CALL_SECONDS, in which such calls get an error and clients stop sending new ones.
    """
    last_call = min(seconds, LAST_CALL_SECONDS)
    await asyncio.sleep(last_call)
    await server.stop(seconds - last_call)


def credentials(path: str) -> Any:
    """Return the TLS credentials of a text proto SSLConfig.

    Raises:
        UsageError: the file cannot be read, or the key or the certificate is missing.
    """
    proto = text_protos.read(path, text_protos.message_class("SSLConfig")())
    if not proto.server_key or not proto.server_cert:
        raise UsageError(f"{path}: server_key and server_cert must both be set, as PEM text")
    if proto.client_verify and not proto.custom_ca:
        raise UsageError(f"{path}: client_verify needs custom_ca, the certificate authority of the clients")
    return grpc.ssl_server_credentials(
        [(proto.server_key.encode(), proto.server_cert.encode())],
        root_certificates=proto.custom_ca.encode() or None,
        require_client_auth=proto.client_verify,
    )


class PredictionService:
    """The five methods of PredictionService."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def Predict(self, request: Any, context: Any, parts: Parts | None = None) -> Any:
        """Run any signature on tensors of any type."""
        from tensorflow_serving.apis import predict_pb2

        with self._counted(request, "Predict"):
            with self._lease(request.model_spec) as version:
                engine = version.engine
                task = _packed_task(version, request) if parts is None else None
                if task is None:
                    contents = parts.contents if parts else None
                    task = CallTask(engine, await _converted(parts, inference.predict_call, engine, request, contents))
                outputs = await self._service.run(version, task, context.time_remaining())
            _name_version(context, version)
            response = predict_pb2.PredictResponse()
            _fill_spec(response.model_spec, version, task.signature)
            specs = engine.signatures[task.signature].outputs
            if sum(values.nbytes for values in outputs.values()) > wire.LARGE:
                dtypes = {name: specs[name].dtype for name in outputs}
                as_content = self._service.as_tensor_content
                return await asyncio.to_thread(wire.response, response.model_spec, outputs, dtypes, as_content)
            for name, values in outputs.items():
                proto = tensors.to_proto(values, specs[name].dtype, self._service.as_tensor_content)
                response.outputs[name].CopyFrom(proto)
            return response

    async def Classify(self, request: Any, context: Any, parts: Parts | None = None) -> Any:
        """Return classes and scores for examples."""
        from tensorflow_serving.apis import classification_pb2

        return await self._run_examples(
            "Classify", request, context, parts, classification_pb2.ClassificationResponse()
        )

    async def Regress(self, request: Any, context: Any, parts: Parts | None = None) -> Any:
        """Return a number for each example."""
        from tensorflow_serving.apis import regression_pb2

        return await self._run_examples("Regress", request, context, parts, regression_pb2.RegressionResponse())

    async def MultiInference(self, request: Any, context: Any, parts: Parts | None = None) -> Any:
        """Run several signatures of one version on the same examples."""
        from tensorflow_serving.apis import inference_pb2

        with self._counted(request, "MultiInference", request.tasks):
            check = self._service.check_methods
            with self._lease(request.tasks[0].model_spec) as version:
                examples = parts.rows if parts else request.input
                calls = await _converted(parts, inference.multi_calls, version.engine, request.tasks, examples, check)
                seconds_left = context.time_remaining()
                results = await asyncio.gather(
                    *(self._service.run(version, CallTask(version.engine, call), seconds_left) for call in calls)
                )
            _name_version(context, version)
            response = inference_pb2.MultiInferenceResponse()
            for task, call, outputs in zip(request.tasks, calls, results, strict=True):
                result = response.results.add()
                _fill_spec(result.model_spec, version, call.signature.name)
                count = len(call.inputs["inputs"])
                if task.method_name == CLASSIFY:
                    inference.fill_classification(result.classification_result, outputs, count)
                else:
                    inference.fill_regression(result.regression_result, outputs, count)
            return response

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        """Return the signatures of a version."""
        from tensorflow_serving.apis import get_model_metadata_pb2

        with self._counted(request, "GetModelMetadata"):
            if not request.metadata_field:
                raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
            for name in request.metadata_field:
                if name != "signature_def":
                    raise invalid(f"Metadata field {name} is not supported")
            signatures = get_model_metadata_pb2.SignatureDefMap()
            with self._lease(request.model_spec) as version:
                for name, signature in version.engine.signatures.items():
                    signatures.signature_def[name].CopyFrom(signature.proto)
            _name_version(context, version)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            _fill_spec(response.model_spec, version, "")
            response.metadata["signature_def"].Pack(signatures)
            return response

    @contextmanager
    def _counted(self, request: Any, api: str, tasks: Any = None) -> Iterator[None]:
        """Count a call; see `Service.counted`."""
        specs = [task.model_spec for task in tasks] if tasks is not None else [request.model_spec]
        with self._service.counted(specs[0].name if specs else "", api, "GRPC"):
            if tasks is None and not request.HasField("model_spec"):
                raise invalid("Missing ModelSpec")
            if not specs:
                raise invalid("Inference request must have at least one task.")
            yield

    def _lease(self, spec: Any) -> Any:
        choice = spec.WhichOneof("version_choice")
        number = spec.version.value if choice == "version" else None
        return self._service.models.lease(spec.name, number, spec.version_label if choice == "version_label" else None)

    async def _run_examples(self, api: str, request: Any, context: Any, parts: Parts | None, response: Any) -> Any:
        """Run one of _EXAMPLE_METHODS, fill the response and return it."""
        make_call, fill_result = _EXAMPLE_METHODS[api]
        with self._counted(request, api):
            name, check = request.model_spec.signature_name, self._service.check_methods
            with self._lease(request.model_spec) as version:
                examples = parts.rows if parts else request.input
                call = await _converted(parts, make_call, version.engine, name, examples, check)
                task = CallTask(version.engine, call)
                outputs = await self._service.run(version, task, context.time_remaining())
            _name_version(context, version)
            _fill_spec(response.model_spec, version, call.signature.name)
            fill_result(response.result, outputs, len(call.inputs["inputs"]))
        return response


class ModelService:
    """The status of models, and the reload of the config."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        """Return the state of all versions of a model, or of the requested one."""
        from tensorflow_serving.apis import get_model_status_pb2

        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        spec = request.model_spec
        number = spec.version.value if spec.WhichOneof("version_choice") == "version" else None
        versions = self._service.models.status(spec.name, number)
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in versions:
            entry = response.model_version_status.add(version=version.number, state=int(version.state))
            if version.error and version.state is State.END:
                entry.status.error_code = int(version.error.code)
                entry.status.error_message = version.error.message
            else:
                entry.status.error_code = 0
        return response

    async def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
        """Replace the whole config, and answer when its models are available."""
        from tensorflow_serving.apis import model_management_pb2

        headers = dict(context.invocation_metadata() or ())
        try:
            self._service.check_reload(context.peer(), str(headers.get("authorization", "")))
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                    "Only ModelConfigList is currently supported"
                )
            await self._service.models.reload(model_config.from_proto(request.config))
        except RequestError as error:
            _log.error("ReloadConfig failed: %s", error.message)
            raise
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = 0
        return response


async def _converted(parts: Parts | None, function: Callable[..., _T], *arguments: Any) -> _T:
    """Call a function, in a thread if the message is large."""
    return function(*arguments) if parts is None else await asyncio.to_thread(function, *arguments)


def _packed_task(version: ManagedVersion, request: Any) -> BatchTask | None:
    """Return the task of a request whose tensors can be packed; None if it must take the plain path."""
    route = version.routes.get(request.model_spec.signature_name or DEFAULT_SIGNATURE)
    if route is None or route.packed is None or request.output_filter:
        return None
    packed = route.packed.read_tensors(request.inputs)
    return None if packed is None else PackedTensorsTask(route.packed, *packed)


def _name_version(context: Any, version: ManagedVersion) -> None:
    """Add the version to the answer's trailing metadata, which may have the id of the request."""
    context.set_trailing_metadata((*(context.trailing_metadata() or ()), *version.headers))


def _fill_spec(spec: Any, version: ManagedVersion, signature_name: str) -> None:
    spec.name = version.model
    spec.version.value = version.number
    spec.signature_name = signature_name


def _arguments(text: str) -> Sequence[tuple[str, Any]]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    for key, equals, value in pairs:
        if not key or not equals:
            raise UsageError(f"--grpc_channel_arguments: got {key + equals + value!r}, expected key=value")
    return [(key, int(value) if value.lstrip("-").isdigit() else value) for key, _, value in pairs]


def _prediction_handler(service: Service, rules: _Rules) -> Any:
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        inference_pb2,
        predict_pb2,
        regression_pb2,
    )

    methods = PredictionService(service)
    return _handler(
        "tensorflow.serving.PredictionService",
        {
            methods.Predict: predict_pb2.PredictRequest,
            methods.Classify: classification_pb2.ClassificationRequest,
            methods.Regress: regression_pb2.RegressionRequest,
            methods.MultiInference: inference_pb2.MultiInferenceRequest,
            methods.GetModelMetadata: get_model_metadata_pb2.GetModelMetadataRequest,
        },
        rules,
    )


def _model_handler(service: Service, rules: _Rules) -> Any:
    from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

    methods = ModelService(service)
    return _handler(
        "tensorflow.serving.ModelService",
        {
            methods.GetModelStatus: get_model_status_pb2.GetModelStatusRequest,
            methods.HandleReloadConfigRequest: model_management_pb2.ReloadConfigRequest,
        },
        rules,
    )


def _handler(name: str, methods: Mapping[Method, Any], rules: _Rules) -> Any:
    """Return the gRPC handler of a service.

    The generated functions do the same, but for a malformed message they log a traceback and answer UNKNOWN.

    Args:
        name: full name of the service.
        methods: the class of the request, by method.
        rules: what holds for every call.
    """
    handlers = {
        method.__name__: grpc.unary_unary_rpc_method_handler(
            partial(_call, method, rules), partial(_parse, request_class), _serialize
        )
        for method, request_class in methods.items()
    }
    return grpc.method_handlers_generic_handler(name, handlers)


def _parse(request_class: Any, data: bytes) -> Any:
    from google.protobuf.message import DecodeError

    if len(data) > wire.LARGE:
        return LargeMessage(request_class, data)
    try:
        return request_class.FromString(data)
    except DecodeError:
        return None


async def _call(method: Method, rules: _Rules, request: Any, context: Any) -> Any:
    if rules.stopping.is_set():
        return _refuse(context, grpc.StatusCode.UNAVAILABLE, "the server is stopping")
    if request is None:
        message = "the message cannot be parsed as a request of this method"
        return _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, message)
    try:
        if not isinstance(request, LargeMessage):
            return await method(request, context)
        if method.__name__ not in _LARGE_METHODS:
            raise invalid("the message is too large for a request of this method")
        async with rules.turns.turn(len(request.data), context.time_remaining()):
            parts = await asyncio.to_thread(wire.take_apart, request, rules.max_memory)
            return await method(parts.request, context, parts)
    except RequestError as error:
        forget_frames(error)
        return _refuse(context, _GRPC[int(error.code)], error.message)


def _refuse(context: Any, code: grpc.StatusCode, message: str) -> None:
    """Set the status of a call. gRPC's `abort` raises an error that would keep the request until a full collection."""
    context.set_code(code)
    context.set_details(message)


def _serialize(response: Any) -> bytes:
    return response if isinstance(response, bytes) else bytes(response.SerializeToString())


def _health_handler(service: Service, stopping: asyncio.Event) -> Any:
    """Return grpc.health.v1.Health with Check. Its messages are written by hand, so that no other package is needed."""
    request_class = text_protos.message_class("HealthCheckRequest")

    async def check(request: Any, context: Any) -> bytes:
        if request is None or request.service not in _HEALTHY:
            _refuse(context, _GRPC[int(Code.NOT_FOUND)], "unknown service")
            return b""
        is_serving = not stopping.is_set() and not service.models.is_stuck()
        return b"\x08\x01" if is_serving else b"\x08\x02"  # HealthCheckResponse: SERVING, NOT_SERVING

    method = grpc.unary_unary_rpc_method_handler(check, request_deserializer=partial(_parse, request_class))
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
