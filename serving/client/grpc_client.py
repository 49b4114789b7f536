"""The client of the gRPC API."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from benison.serving import missing_values
from benison.serving.client.protocol import (
    Answer,
    ServerError,
    VersionStatus,
    check_free,
    check_names,
    checked_timeout,
    version_of,
)
from benison.serving.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self


class GrpcClient:
    """One gRPC channel; any number of requests at a time."""

    def __init__(self, target: str = "127.0.0.1:8500", *, timeout: float = 30.0, credentials: Any = None) -> None:
        """Prepare the client; the first request connects.

        Args:
            target: `host:port` or `unix:PATH`.
            timeout: Longest time for one request (seconds).
            credentials: grpc.ChannelCredentials for TLS; None for a plain connection.

        Raises:
            UsageError: An argument is wrong; the message names it.
        """
        self._target = _checked_target(target)
        self._credentials = credentials
        self._timeout = checked_timeout(timeout)
        self._channel: Any = None
        self._stubs: dict[str, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        await self.close()

    async def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        signature: str = "",
        version: int | None = None,
        label: str | None = None,
        outputs: Sequence[str] = (),
        missing: Mapping[str, Any] | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Request predictions.

        Args:
            model: Name of the model.
            inputs: Numpy arrays by input name, in the signature's dtypes; or lists, which may contain None if `missing`
                is given.
            signature: Name of the signature; empty for `serving_default`.
            version: A version number; or
            label: a version label. Without both, the highest loaded version answers.
            outputs: Names of the outputs to return; empty for all.
            missing: By input, the value to send in place of None and of an absent input (`Version.missing_values`).

        Returns:
            The outputs by name; text as bytes.

        Raises:
            ServerError: The server refused the request, or did not answer in time.
            UsageError: An input cannot be written as a tensor, or the client is closed.
        """
        answer = await self.answer(
            model, inputs, signature=signature, version=version, label=label, outputs=outputs, missing=missing
        )
        return dict(answer.predictions)

    async def answer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        signature: str = "",
        version: int | None = None,
        label: str | None = None,
        outputs: Sequence[str] = (),
        missing: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Request predictions, and return them with the version that gave them; arguments and errors as in `predict`.

        A label, or no version at all, may mean another version at any time.
        """
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(output_filter=outputs)
        _fill_model_spec(request.model_spec, model, signature, version, label)
        for name, values in missing_values.fill_arrays(inputs, missing or {}).items():
            proto, values = request.inputs[name], _in_native_order(values)
            if _fill_plain(proto, values):
                continue
            try:
                proto.CopyFrom(tf.make_tensor_proto(values))
            except (TypeError, ValueError) as error:
                raise UsageError(f"inputs: {name}: not a tensor: {error}") from None
        response, metadata = await self._call_with_metadata("PredictionService", "Predict", request)
        arrays = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
        return Answer(arrays, version_of(metadata))

    async def status(self, model: str, version: int | None = None) -> list[VersionStatus]:
        """Return the state of a model's versions, or of one version.

        Raises:
            ServerError: There is no such model or version, or the server did not answer.
        """
        from tensorflow.core.protobuf import error_codes_pb2
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        _fill_model_spec(request.model_spec, model, "", version, None)
        answer = await self._call("ModelService", "GetModelStatus", request)
        state = get_model_status_pb2.ModelVersionStatus.State.Name
        return [
            VersionStatus(
                entry.version,
                state(entry.state),
                error_codes_pb2.Code.Name(entry.status.error_code),
                entry.status.error_message,
            )
            for entry in answer.model_version_status
        ]

    async def metadata(self, model: str, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """Return the signatures of a version: SignatureDef by name.

        Raises:
            ServerError: The version is not loaded, or the server did not answer.
        """
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        _fill_model_spec(request.model_spec, model, "", version, label)
        answer = await self._call("PredictionService", "GetModelMetadata", request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return dict(signatures.signature_def)

    async def reload(self, config: str, *, token: str = "", timeout: float | None = None) -> None:
        """Replace the server's whole config, and wait until its models are served.

        Args:
            config: A text proto ModelServerConfig, as in a models.config file.
            token: The server's BENISON_ADMIN_TOKEN, if it requires one.
            timeout: Longest time for this request (seconds); None for the client's own.

        Raises:
            ServerError: The config is wrong, or the server refused it or did not answer in time.
        """
        from google.protobuf import text_format
        from tensorflow_serving.apis import model_management_pb2

        request = model_management_pb2.ReloadConfigRequest()
        try:
            text_format.Parse(config, request.config)
        except text_format.ParseError as error:
            raise ServerError("INVALID_ARGUMENT", f"not a text proto ModelServerConfig: {error}") from None
        headers = [("authorization", f"Bearer {token}")] if token else []
        await self._call("ModelService", "HandleReloadConfigRequest", request, headers, timeout)

    async def close(self) -> None:
        """Close the channel; requests that still run fail with ServerError."""
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None and self._loop is asyncio.get_running_loop():
            await channel.close()

    async def _call(
        self,
        service: str,
        method: str,
        request: Any,
        headers: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
    ) -> Any:
        return (await self._call_with_metadata(service, method, request, headers, timeout))[0]

    async def _call_with_metadata(
        self,
        service: str,
        method: str,
        request: Any,
        headers: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
    ) -> tuple[Any, Any]:
        """Return the response and its trailing metadata."""
        import grpc

        send = getattr(self._stub(service), method)
        try:
            call = send(request, timeout=timeout or self._timeout, metadata=headers or None)
            return await call, await call.trailing_metadata()
        except grpc.aio.AioRpcError as error:
            raise ServerError(error.code().name, error.details() or "") from None
        except asyncio.CancelledError:
            if self._closed:  # gRPC cancels the calls of a channel that is closed
                raise ServerError("CANCELLED", f"{self._target}: the client was closed") from None
            raise

    def _stub(self, service: str) -> Any:
        """Return a service's methods over the channel of the running event loop.

        Raises:
            UsageError: This client is closed, or another event loop uses it.
        """
        import grpc
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        loop = asyncio.get_running_loop()
        check_free(self._closed, self._loop)
        if self._channel is None or self._loop is not loop:
            options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
            self._loop = loop
            self._channel = (
                grpc.aio.secure_channel(self._target, self._credentials, options)
                if self._credentials
                else grpc.aio.insecure_channel(self._target, options)
            )
            self._stubs = {
                "ModelService": model_service_pb2_grpc.ModelServiceStub(self._channel),
                "PredictionService": prediction_service_pb2_grpc.PredictionServiceStub(self._channel),
            }
        return self._stubs[service]


def _in_native_order(values: Any) -> Any:
    """Return an array in this machine's byte order; TensorFlow would send the bytes of another order as they are."""
    is_native = getattr(getattr(values, "dtype", None), "isnative", True)
    return values if is_native else values.astype(values.dtype.newbyteorder("="))


def _fill_plain(proto: Any, values: Any) -> bool:
    """Write an array of a usual type into an empty TensorProto; return False if TensorFlow must write all of it.

    A request has a tensor per column, and TensorFlow's own function takes ten times as long for a small one.
    """
    import numpy as np

    if type(values) is not np.ndarray or (number := _plain_types().get(values.dtype.str)) is None:
        return False
    proto.MergeFrom(_empty_tensor(number, values.shape))
    if values.dtype == object:
        cells = values.ravel().tolist()
        if not all(type(cell) is bytes for cell in cells):
            return False
        proto.string_val.extend(cells)
    else:
        proto.tensor_content = values.tobytes()
    return True


@functools.lru_cache(maxsize=256)
def _empty_tensor(dtype: int, shape: tuple[int, ...]) -> Any:
    """Return a TensorProto of a type and shape without its values."""
    from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2

    dims = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in shape]
    return tensor_pb2.TensorProto(dtype=dtype, tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=dims))


@functools.cache
def _plain_types() -> dict[str, int]:
    """Return TensorFlow's number of each of numpy's types whose bytes are those of a TensorProto; and of text."""
    from tensorflow.core.framework import types_pb2 as types

    return {
        "<f4": types.DT_FLOAT,
        "<f8": types.DT_DOUBLE,
        "<i4": types.DT_INT32,
        "<i8": types.DT_INT64,
        "|O": types.DT_STRING,
    }


def _checked_target(target: Any) -> str:
    if isinstance(target, str) and target:
        return target
    raise UsageError(f"target: got {target!r}, expected HOST:PORT or unix:PATH")


def _fill_model_spec(spec: Any, model: str, signature: str, version: int | None, label: str | None) -> None:
    check_names(model, version, label)
    spec.name = model
    spec.signature_name = signature
    if label is not None:
        spec.version_label = label
    elif version is not None:
        try:
            spec.version.value = int(version)
        except ValueError:
            raise UsageError(f"version: got {version}, expected a number of at most 63 bits") from None
