"""TF Serving's gRPC API: PredictionService, ModelService and, if asked for, the standard health service."""

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
from benison.serving.server.codec import tensors
from benison.serving.server.http import LAST_CALL_SECONDS
from benison.serving.server.inference import CLASSIFY, Call
from benison.serving.server.lifecycle import ManagedVersion, State
from benison.serving.server.service import Service, aside
from benison.serving.server.status import Code, RequestError, invalid

_GRPC = {code.value[0]: code for code in grpc.StatusCode}
_HEALTHY = (
    "",
    "ModelService",
    "PredictionService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
)
Method = Callable[[Any, Any], Awaitable[Any]]
_log = logging.getLogger(__name__)


def build(
    service: Service,
    stopping: asyncio.Event,
    *,
    health: bool,
    channel_arguments: str,
    max_message_bytes: int,
    interceptors: Sequence[Any] = (),
) -> Any:
    """A grpc.aio server with all services, which listens nowhere yet.

    Args:
        service: the models.
        stopping: new calls are refused once it is set; see `drain`.
        health: --enable_grpc_healthcheck_service.
        channel_arguments: key=value, with commas between.
        max_message_bytes: a request may have.
        interceptors: what each call passes through.

    Raises:
        UsageError: the channel arguments are not of that form.
    """
    options = {
        "grpc.so_reuseport": 0,  # a taken port is an error, not a port shared with a stranger
        "grpc.max_receive_message_length": max_message_bytes,
        "grpc.max_send_message_length": -1,
        **dict(_arguments(channel_arguments)),  # of two for one name gRPC takes the first
    }
    server = grpc.aio.server(interceptors=interceptors, options=list(options.items()))
    server.add_generic_rpc_handlers((_prediction_handler(service, stopping), _model_handler(service, stopping)))
    if health:
        server.add_generic_rpc_handlers((_health_handler(stopping),))
    return server


async def drain(server: Any, seconds: float) -> None:
    """Ends a server whose `stopping` is set: what it accepted is finished, within that time.

    gRPC cancels the calls that have arrived but were not handed over yet when it stops. So it does not stop before
    those had the time to be refused, and their callers to stop asking.
    """
    await asyncio.sleep(min(seconds, LAST_CALL_SECONDS))
    await server.stop(seconds)


def credentials(path: str) -> Any:
    """TLS as a text proto SSLConfig says.

    Raises:
        UsageError: the file cannot be read, or lacks key or certificate.
    """
    proto = text_protos.read(path, text_protos.message_class("SSLConfig")())
    if not proto.server_key or not proto.server_cert:
        raise UsageError(f"{path}: server_key and server_cert must both be set, as PEM text")
    if proto.client_verify and not proto.custom_ca:
        raise UsageError(f"{path}: client_verify wants custom_ca, to know whose certificates to accept")
    return grpc.ssl_server_credentials(
        [(proto.server_key.encode(), proto.server_cert.encode())],
        root_certificates=proto.custom_ca.encode() or None,
        require_client_auth=proto.client_verify,
    )


class PredictionService:
    """All five methods."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def Predict(self, request: Any, context: Any) -> Any:
        """Any signature, any dtype, `output_filter`."""
        from tensorflow_serving.apis import predict_pb2

        async with self._answering(request, "Predict", context):
            size = request.ByteSize()
            with self._lease(request.model_spec) as version:
                call = await aside(size, inference.predict_call, version.engine, request)
                outputs = await self._service.run(version, call, context.time_remaining())
            response = predict_pb2.PredictResponse()
            _fill_spec(response.model_spec, version, call.signature.name)
            for name, values in outputs.items():
                dtype = call.signature.outputs[name].dtype
                proto = await aside(values.nbytes, tensors.to_proto, values, dtype, self._service.as_tensor_content)
                response.outputs[name].CopyFrom(proto)
            return response

    async def Classify(self, request: Any, context: Any) -> Any:
        """Examples to classes and scores."""
        from tensorflow_serving.apis import classification_pb2

        response = classification_pb2.ClassificationResponse()
        async with self._answering(request, "Classify", context):
            await self._about_examples(
                request, context, response, inference.classify_call, inference.fill_classification
            )
        return response

    async def Regress(self, request: Any, context: Any) -> Any:
        """Examples to numbers."""
        from tensorflow_serving.apis import regression_pb2

        response = regression_pb2.RegressionResponse()
        async with self._answering(request, "Regress", context):
            await self._about_examples(request, context, response, inference.regress_call, inference.fill_regression)
        return response

    async def MultiInference(self, request: Any, context: Any) -> Any:
        """The same examples to several signatures of one version."""
        from tensorflow_serving.apis import inference_pb2

        async with self._answering(request, "MultiInference", context, request.tasks):
            check = self._service.check_methods
            with self._lease(request.tasks[0].model_spec) as version:
                calls = await aside(request.ByteSize(), inference.multi_calls, version.engine, request, check)
                left = context.time_remaining()
                answers = await asyncio.gather(*(self._service.run(version, call, left) for call in calls))
            response = inference_pb2.MultiInferenceResponse()
            for task, call, outputs in zip(request.tasks, calls, answers, strict=True):
                result = response.results.add()
                _fill_spec(result.model_spec, version, call.signature.name)
                count = len(call.inputs["inputs"])
                if task.method_name == CLASSIFY:
                    inference.fill_classification(result.classification_result, outputs, count)
                else:
                    inference.fill_regression(result.regression_result, outputs, count)
            return response

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        """The signatures."""
        from tensorflow_serving.apis import get_model_metadata_pb2

        async with self._answering(request, "GetModelMetadata", context):
            if not request.metadata_field:
                raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
            for name in request.metadata_field:
                if name != "signature_def":
                    raise invalid(f"Metadata field {name} is not supported")
            signatures = get_model_metadata_pb2.SignatureDefMap()
            with self._lease(request.model_spec) as version:
                for name, asked in version.engine.signatures.items():
                    signatures.signature_def[name].CopyFrom(asked.proto)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            _fill_spec(response.model_spec, version, "")
            response.metadata["signature_def"].Pack(signatures)
            return response

    @asynccontextmanager
    async def _answering(self, request: Any, api: str, context: Any, tasks: Any = None) -> AsyncIterator[None]:
        """Counts a request, and turns its error into the call's status."""
        specs = [task.model_spec for task in tasks] if tasks is not None else [request.model_spec]
        name = specs[0].name if specs else ""
        try:
            with self._service.counted(name, api, "GRPC"):
                if tasks is None and not request.HasField("model_spec"):
                    raise invalid("Missing ModelSpec")
                if not specs:
                    raise invalid("Inference request must have at least one task.")
                yield
        except RequestError as error:
            await context.abort(_GRPC[int(error.code)], error.message)

    def _lease(self, spec: Any) -> Any:
        choice = spec.WhichOneof("version_choice")
        number = spec.version.value if choice == "version" else None
        return self._service.models.lease(spec.name, number, spec.version_label if choice == "version_label" else None)

    async def _about_examples(
        self,
        request: Any,
        context: Any,
        response: Any,
        make: Callable[..., Call],
        fill: Callable[[Any, Mapping[str, Any], int], None],
    ) -> None:
        """Runs the call that `make` makes of the request's examples, and fills the response."""
        with self._lease(request.model_spec) as version:
            arguments = (version.engine, request.model_spec.signature_name, request.input, self._service.check_methods)
            call = await aside(request.ByteSize(), make, *arguments)
            outputs = await self._service.run(version, call, context.time_remaining())
        _fill_spec(response.model_spec, version, call.signature.name)
        fill(response.result, outputs, len(call.inputs["inputs"]))


class ModelService:
    """Status, and the reload of the whole config."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        """The state of a model's versions, or of the one asked for."""
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
        """Replaces the whole config; answers once its models serve."""
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
    """A service's methods with the classes of their requests, as grpc wants them.

    The generated functions do the same, but log a traceback for each message that is none, and answer UNKNOWN.
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
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is not one of this method's")
    return await method(request, context)


def _serialize(response: Any) -> bytes:
    return bytes(response.SerializeToString())


def _health_handler(stopping: asyncio.Event) -> Any:
    """grpc.health.v1.Health.Check: one text in, one number out, so that no further package is needed."""
    request_class = text_protos.message_class("HealthCheckRequest")

    async def check(request: Any, context: Any) -> bytes:
        if request is None or request.service not in _HEALTHY:
            await context.abort(_GRPC[int(Code.NOT_FOUND)], "unknown service")
        return b"\x08\x02" if stopping.is_set() else b"\x08\x01"  # HealthCheckResponse: NOT_SERVING, SERVING

    method = grpc.unary_unary_rpc_method_handler(check, request_deserializer=partial(_parse, request_class))
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
