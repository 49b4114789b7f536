"""TF Serving's gRPC API: PredictionService, ModelService and, if a flag turns it on, the standard health service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc

from benison.serving.errors import UsageError
from benison.serving.server import inference, model_config, text_protos
from benison.serving.server.batching.tasks import BatchTask, CallTask, PackedTensorsTask
from benison.serving.server.codec import tensors
from benison.serving.server.engine import DEFAULT_SIGNATURE
from benison.serving.server.http import LAST_CALL_SECONDS
from benison.serving.server.inference import CLASSIFY, Call
from benison.serving.server.lifecycle import ManagedVersion, State
from benison.serving.server.service import Service, offload_if_large
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
Method = Callable[[Any, Any], Awaitable[Any]]
_log = logging.getLogger(__name__)


def build(
    service: Service,
    stopping: asyncio.Event,
    *,
    health: bool,
    channel_arguments: str,
    max_message_bytes: int,
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
    server.add_generic_rpc_handlers((_prediction_handler(service, stopping), _model_handler(service, stopping)))
    if health:
        server.add_generic_rpc_handlers((_health_handler(stopping),))
    return server


async def drain(server: Any, seconds: float) -> None:
    """Stop a server whose `stopping` event is set; accepted calls may finish within that time (seconds).

    When gRPC stops, it cancels the calls that have arrived but were not dispatched. So this first waits for
    LAST_CALL_SECONDS, in which such calls get an error and clients stop sending new ones.
    """
    await asyncio.sleep(min(seconds, LAST_CALL_SECONDS))
    await server.stop(seconds)


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

    async def Predict(self, request: Any, context: Any) -> Any:
        """Run any signature on tensors of any type."""
        from tensorflow_serving.apis import predict_pb2

        async with self._answering(request, "Predict", context):
            size = request.ByteSize()
            with self._lease(request.model_spec) as version:
                engine = version.engine
                task = _packed_task(version, request)
                if task is None:
                    task = CallTask(engine, await offload_if_large(size, inference.predict_call, engine, request))
                outputs = await self._service.run(version, task, context.time_remaining())
            response = predict_pb2.PredictResponse()
            _fill_spec(response.model_spec, version, task.signature)
            specs = engine.signatures[task.signature].outputs
            for name, values in outputs.items():
                dtype = specs[name].dtype
                proto = await offload_if_large(
                    values.nbytes, tensors.to_proto, values, dtype, self._service.as_tensor_content
                )
                response.outputs[name].CopyFrom(proto)
            return response

    async def Classify(self, request: Any, context: Any) -> Any:
        """Return classes and scores for examples."""
        from tensorflow_serving.apis import classification_pb2

        return await self._run_examples("Classify", request, context, classification_pb2.ClassificationResponse())

    async def Regress(self, request: Any, context: Any) -> Any:
        """Return a number for each example."""
        from tensorflow_serving.apis import regression_pb2

        return await self._run_examples("Regress", request, context, regression_pb2.RegressionResponse())

    async def MultiInference(self, request: Any, context: Any) -> Any:
        """Run several signatures of one version on the same examples."""
        from tensorflow_serving.apis import inference_pb2

        async with self._answering(request, "MultiInference", context, request.tasks):
            check = self._service.check_methods
            with self._lease(request.tasks[0].model_spec) as version:
                calls = await offload_if_large(
                    request.ByteSize(), inference.multi_calls, version.engine, request, check
                )
                seconds_left = context.time_remaining()
                results = await asyncio.gather(
                    *(self._service.run(version, CallTask(version.engine, call), seconds_left) for call in calls)
                )
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

        async with self._answering(request, "GetModelMetadata", context):
            if not request.metadata_field:
                raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
            for name in request.metadata_field:
                if name != "signature_def":
                    raise invalid(f"Metadata field {name} is not supported")
            signatures = get_model_metadata_pb2.SignatureDefMap()
            with self._lease(request.model_spec) as version:
                for name, signature in version.engine.signatures.items():
                    signatures.signature_def[name].CopyFrom(signature.proto)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            _fill_spec(response.model_spec, version, "")
            response.metadata["signature_def"].Pack(signatures)
            return response

    @asynccontextmanager
    async def _answering(self, request: Any, api: str, context: Any, tasks: Any = None) -> AsyncIterator[None]:
        """Count a call, and turn its error into the status of the call."""
        specs = [task.model_spec for task in tasks] if tasks is not None else [request.model_spec]
        name = specs[0].name if specs else ""
        try:
            with self._service.counted(name, api, "GRPC"):
                if tasks is None and not request.HasField("model_spec"):
                    raise invalid("Missing ModelSpec")
                if not specs:
                    raise invalid("Inference request must have at least one task.")
                yield
            return
        except RequestError as error:
            forget_frames(error)
            code, message = _GRPC[int(error.code)], error.message
        await context.abort(code, message)

    def _lease(self, spec: Any) -> Any:
        choice = spec.WhichOneof("version_choice")
        number = spec.version.value if choice == "version" else None
        return self._service.models.lease(spec.name, number, spec.version_label if choice == "version_label" else None)

    async def _run_examples(self, api: str, request: Any, context: Any, response: Any) -> Any:
        """Run one of _EXAMPLE_METHODS, fill the response and return it."""
        make_call, fill_result = _EXAMPLE_METHODS[api]
        async with self._answering(request, api, context):
            name, check = request.model_spec.signature_name, self._service.check_methods
            with self._lease(request.model_spec) as version:
                arguments = (version.engine, name, request.input, check)
                call = await offload_if_large(request.ByteSize(), make_call, *arguments)
                task = CallTask(version.engine, call)
                outputs = await self._service.run(version, task, context.time_remaining())
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

        try:
            if not request.HasField("model_spec"):
                raise invalid("Missing ModelSpec")
            spec = request.model_spec
            number = spec.version.value if spec.WhichOneof("version_choice") == "version" else None
            versions = self._service.models.status(spec.name, number)
        except RequestError as error:
            await context.abort(_GRPC[int(error.code)], error.message)
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
            self._service.check_reload(str(headers.get("authorization", "")))
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                    "Only ModelConfigList is currently supported"
                )
            await self._service.models.reload(model_config.from_proto(request.config))
        except RequestError as error:
            _log.error("ReloadConfig failed: %s", error.message)
            await context.abort(_GRPC[int(error.code)], error.message)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = 0
        return response


def _packed_task(version: ManagedVersion, request: Any) -> BatchTask | None:
    """Return the task of a request whose tensors can be packed; None if it must take the plain path."""
    route = version.routes.get(request.model_spec.signature_name or DEFAULT_SIGNATURE)
    if route is None or route.packed is None or request.output_filter:
        return None
    packed = route.packed.read_tensors(request.inputs)
    return None if packed is None else PackedTensorsTask(route.packed, *packed)


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


def _prediction_handler(service: Service, stopping: asyncio.Event) -> Any:
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
        stopping,
    )


def _model_handler(service: Service, stopping: asyncio.Event) -> Any:
    from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

    methods = ModelService(service)
    return _handler(
        "tensorflow.serving.ModelService",
        {
            methods.GetModelStatus: get_model_status_pb2.GetModelStatusRequest,
            methods.HandleReloadConfigRequest: model_management_pb2.ReloadConfigRequest,
        },
        stopping,
    )


def _handler(name: str, methods: Mapping[Method, Any], stopping: asyncio.Event) -> Any:
    """Return the gRPC handler of a service.

    The generated functions do the same, but for a malformed message they log a traceback and answer UNKNOWN.

    Args:
        name: full name of the service.
        methods: the class of the request, by method.
        stopping: see `build`.
    """
    handlers = {
        method.__name__: grpc.unary_unary_rpc_method_handler(
            partial(_call, method, stopping), partial(_parse, request_class), _serialize
        )
        for method, request_class in methods.items()
    }
    return grpc.method_handlers_generic_handler(name, handlers)


def _parse(request_class: Any, data: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return request_class.FromString(data)
    except DecodeError:
        return None


async def _call(method: Method, stopping: asyncio.Event, request: Any, context: Any) -> Any:
    if stopping.is_set():
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
    if request is None:
        await context.abort(
            grpc.StatusCode.INVALID_ARGUMENT, "the message cannot be parsed as a request of this method"
        )
    return await method(request, context)


def _serialize(response: Any) -> bytes:
    return bytes(response.SerializeToString())


def _health_handler(stopping: asyncio.Event) -> Any:
    """Return grpc.health.v1.Health with Check. Its messages are written by hand, so that no other package is needed."""
    request_class = text_protos.message_class("HealthCheckRequest")

    async def check(request: Any, context: Any) -> bytes:
        if request is None or request.service not in _HEALTHY:
            await context.abort(_GRPC[int(Code.NOT_FOUND)], "unknown service")
        return b"\x08\x02" if stopping.is_set() else b"\x08\x01"  # HealthCheckResponse: NOT_SERVING, SERVING

    method = grpc.unary_unary_rpc_method_handler(check, request_deserializer=partial(_parse, request_class))
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
