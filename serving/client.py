"""A client of any server that speaks TensorFlow Serving, Benison's own or the real one: asyncio, REST and gRPC."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from benison.serving.errors import BenisonError

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self


class ServerError(BenisonError):
    """The server refused a request, or could not be asked.

    Attributes:
        code: gRPC's name of it, such as `NOT_FOUND`; over REST `HTTP 404`; `UNAVAILABLE` where nobody answered.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class VersionStatus:
    """One version, as the server sees it.

    Attributes:
        version: its number.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error_code: `OK`, or why it ended.
        error_message: what it says; empty if all is well.
    """

    version: int
    state: str
    error_code: str
    error_message: str


class RestClient:
    """One HTTP connection, kept open between requests; one request at a time."""

    def __init__(self, host: str = "127.0.0.1", port: int = 8501, *, timeout: float = 30.0) -> None:
        """Connects with the first request.

        Args:
            host: name or address.
            port: of the REST API.
            timeout: for one request, connecting included (seconds).
        """
        self._host = host
        self._port = port
        self._timeout = timeout
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        await self.close()

    async def predict(
        self,
        model: str,
        *,
        instances: Sequence[Any] | None = None,
        inputs: Any = None,
        signature: str = "",
        version: int | None = None,
        label: str | None = None,
    ) -> Any:
        """Asks for predictions.

        Args:
            model: its name.
            instances: rows, each a value or an object by input; or
            inputs: a tensor, or one per input by name.
            signature: empty for `serving_default`.
            version: a number; or
            label: a label; neither for the highest that is loaded.

        Returns:
            `predictions` or `outputs` of the answer.

        Raises:
            ServerError: the server refused it, or does not answer in time.
        """
        form, value = ("inputs", inputs) if instances is None else ("instances", instances)
        body = json.dumps({form: value, **({"signature_name": signature} if signature else {})}).encode()
        answer = await self._ask("POST", f"{_path(model, version, label)}:predict", body)
        return answer["outputs" if instances is None else "predictions"]

    async def status(self, model: str, version: int | None = None) -> list[VersionStatus]:
        """The state of a model's versions, or of one.

        Raises:
            ServerError: there is none, or nobody answers.
        """
        answer = await self._ask("GET", _path(model, version, None))
        return [
            VersionStatus(
                int(entry["version"]), entry["state"], entry["status"]["error_code"], entry["status"]["error_message"]
            )
            for entry in answer["model_version_status"]
        ]

    async def metadata(self, model: str, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """The signatures of a version: SignatureDef as JSON, by name.

        Raises:
            ServerError: it is not loaded, or nobody answers.
        """
        answer = await self._ask("GET", f"{_path(model, version, label)}/metadata")
        return dict(answer["metadata"]["signature_def"]["signature_def"])

    async def close(self) -> None:
        """Closes the connection."""
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def _ask(self, method: str, path: str, body: bytes = b"") -> Any:
        async with self._turn:
            reused = self._streams is not None
            try:
                status, answer = await asyncio.wait_for(self._exchange(method, path, body, reused), self._timeout)
            except asyncio.TimeoutError:
                await self.close()
                raise ServerError("DEADLINE_EXCEEDED", f"no answer within {self._timeout:g} s") from None
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                await self.close()
                raise ServerError(
                    "UNAVAILABLE", f"{self._host}:{self._port}: {str(error) or type(error).__name__}"
                ) from None
            except BaseException:  # an answer that is only half read must not be taken for the next one's
                await self.close()
                raise
        if status != 200:
            raise ServerError(f"HTTP {status}", answer.get("error", "") if isinstance(answer, dict) else str(answer))
        return answer

    async def _exchange(self, method: str, path: str, body: bytes, reused: bool) -> tuple[int, Any]:
        try:
            return await self._once(method, path, body)
        except (ConnectionError, asyncio.IncompleteReadError):
            if not reused:
                raise
        await self.close()  # the server had closed an idle connection
        return await self._once(method, path, body)

    async def _once(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode("latin-1") + body)
        await writer.drain()
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        answer = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            await self.close()
        return int(first.split()[1]), json.loads(answer or b"null")


class GrpcClient:
    """One gRPC channel; any number of requests at a time."""

    def __init__(self, target: str = "127.0.0.1:8500", *, timeout: float = 30.0, credentials: Any = None) -> None:
        """Connects with the first request.

        Args:
            target: `host:port` or `unix:PATH`.
            timeout: for one request (seconds).
            credentials: grpc.ChannelCredentials for TLS; None for none.
        """
        import grpc
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = (
            grpc.aio.secure_channel(target, credentials, options)
            if credentials
            else grpc.aio.insecure_channel(target, options)
        )
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._timeout = timeout

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
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Asks for predictions.

        Args:
            model: its name.
            inputs: numpy arrays by input, in the signature's dtypes.
            signature: empty for `serving_default`.
            version: a number; or
            label: a label; neither for the highest that is loaded.
            outputs: names of those that are wanted; none for all.

        Returns:
            The outputs by name; text as bytes.

        Raises:
            ServerError: the server refused it, or does not answer in time.
        """
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(output_filter=outputs)
        _fill(request.model_spec, model, signature, version, label)
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        answer = await self._call(self._prediction.Predict, request)
        return {name: tf.make_ndarray(proto) for name, proto in answer.outputs.items()}

    async def status(self, model: str, version: int | None = None) -> list[VersionStatus]:
        """The state of a model's versions, or of one.

        Raises:
            ServerError: there is none, or nobody answers.
        """
        from tensorflow.core.protobuf import error_codes_pb2
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        _fill(request.model_spec, model, "", version, None)
        answer = await self._call(self._model.GetModelStatus, request)
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
        """The signatures of a version: SignatureDef by name.

        Raises:
            ServerError: it is not loaded, or nobody answers.
        """
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        _fill(request.model_spec, model, "", version, label)
        answer = await self._call(self._prediction.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return dict(signatures.signature_def)

    async def reload(self, config: str, *, token: str = "", timeout: float | None = None) -> None:
        """Replaces the server's whole config, and waits until its models serve.

        Args:
            config: a text proto ModelServerConfig, as in a models.config file.
            token: the server's BENISON_ADMIN_TOKEN, where it wants one.
            timeout: for this request (seconds); None for the client's own.

        Raises:
            ServerError: the config is wrong, the server refused it, or does not answer in time.
        """
        from google.protobuf import text_format
        from tensorflow_serving.apis import model_management_pb2

        request = model_management_pb2.ReloadConfigRequest()
        try:
            text_format.Parse(config, request.config)
        except text_format.ParseError as error:
            raise ServerError("INVALID_ARGUMENT", f"not a text proto ModelServerConfig: {error}") from None
        headers = [("authorization", f"Bearer {token}")] if token else []
        await self._call(self._model.HandleReloadConfigRequest, request, headers, timeout)

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def _call(
        self, method: Any, request: Any, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> Any:
        import grpc

        try:
            return await method(request, timeout=timeout or self._timeout, metadata=headers or None)
        except grpc.aio.AioRpcError as error:
            raise ServerError(error.code().name, error.details() or "") from None


def _path(model: str, version: int | None, label: str | None) -> str:
    place = "" if version is None else f"/versions/{version}"
    place = place if label is None else f"/labels/{quote(label, safe='')}"
    return f"/v1/models/{quote(model, safe='')}{place}"


def _fill(spec: Any, model: str, signature: str, version: int | None, label: str | None) -> None:
    spec.name = model
    spec.signature_name = signature
    if label is not None:
        spec.version_label = label
    elif version is not None:
        spec.version.value = version
