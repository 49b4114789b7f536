"""Clients for asyncio, over REST and gRPC, of Benison's server, TensorFlow Serving and every server with its API."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from benison.serving.errors import BenisonError, UsageError

if TYPE_CHECKING:
    import ssl

    import httpx
    import numpy as np
    from typing_extensions import Self


_LONGEST_ERROR = 500  # characters


class ServerError(BenisonError):
    """The server refused a request, or could not be reached.

    Attributes:
        code: gRPC's name of the error, such as `NOT_FOUND`; over REST `HTTP 404`; `UNAVAILABLE` if nobody answered.
        message: The server's text, or why it could not be reached.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class VersionStatus:
    """State of one version on a server.

    Attributes:
        version: Number of the version.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error_code: `OK`, or the code of the error that ended it.
        error_message: Message of that error; empty if there is none.
    """

    version: int
    state: str
    error_code: str
    error_message: str


class RestClient:
    """A client of the REST API, which keeps connections open; any number of requests may run at a time."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8501,
        *,
        url: str | None = None,
        timeout: float = 30.0,
        verify: bool | str | Path | ssl.SSLContext = True,
    ) -> None:
        """Prepare the client; the first request connects.

        HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are respected; requests to loopback never go through a proxy.

        Args:
            host: Name or address of the server.
            port: Port of its REST API.
            url: Base URL in place of host and port, such as `https://models.example.org/prefix`.
            timeout: Longest time for one request, including the connection (seconds).
            verify: How to check the certificate of an https server: True for certifi's authorities (or SSL_CERT_FILE),
                False for no check, the path of a PEM file with other authorities, or an SSLContext.

        Raises:
            UsageError: `url` is not an HTTP URL.
        """
        self._url = _base_url(host, port) if url is None else _checked_url(url)
        self._timeout = timeout
        self._verify = verify
        self._http: httpx.AsyncClient | None = None
        self._connected = False

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
        """Request predictions.

        Args:
            model: Name of the model.
            instances: Rows, each a value or an object by input name; or
            inputs: One tensor, or one per input name.
            signature: Name of the signature; empty for `serving_default`.
            version: A version number; or
            label: a version label. Without both, the highest loaded version answers.

        Returns:
            `predictions` or `outputs` of the response.

        Raises:
            ServerError: The server refused the request, or did not answer in time.
        """
        key, value = ("inputs", inputs) if instances is None else ("instances", instances)
        body = json.dumps({key: value, **({"signature_name": signature} if signature else {})}).encode()
        answer = await self._request("POST", f"{_path(model, version, label)}:predict", body)
        return answer["outputs" if instances is None else "predictions"]

    async def status(self, model: str, version: int | None = None) -> list[VersionStatus]:
        """Return the state of a model's versions, or of one version.

        Raises:
            ServerError: There is no such model or version, or the server did not answer.
        """
        answer = await self._request("GET", _path(model, version, None))
        return [
            VersionStatus(
                int(entry["version"]), entry["state"], entry["status"]["error_code"], entry["status"]["error_message"]
            )
            for entry in answer["model_version_status"]
        ]

    async def metadata(self, model: str, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """Return the signatures of a version: SignatureDef as JSON, by name.

        Raises:
            ServerError: The version is not loaded, or the server did not answer.
        """
        answer = await self._request("GET", f"{_path(model, version, label)}/metadata")
        return dict(answer["metadata"]["signature_def"]["signature_def"])

    async def close(self) -> None:
        """Close the connections."""
        http, self._http, self._connected = self._http, None, False
        if http is not None:
            await http.aclose()

    async def _request(self, method: str, path: str, body: bytes = b"") -> Any:
        import httpx

        try:
            response = await asyncio.wait_for(self._send(method, self._url + path, body), self._timeout)
            answer = _parsed(response)
        except asyncio.TimeoutError:
            raise ServerError("DEADLINE_EXCEEDED", f"no answer within {self._timeout:g} s") from None
        except (httpx.HTTPError, OSError, ValueError) as error:
            raise ServerError("UNAVAILABLE", f"{self._url}: {_reason(error)}") from None
        if response.status_code != 200:
            message = answer.get("error", "") if isinstance(answer, dict) else str(answer)
            raise ServerError(f"HTTP {response.status_code}", message)
        return answer

    async def _send(self, method: str, url: str, body: bytes) -> httpx.Response:
        import httpx

        if self._http is None:
            self._http = _http_client(self._url, self._verify)
        was_connected = self._connected
        try:
            response = await self._http.request(method, url, content=body)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            if not was_connected:
                raise
            # The server closed an idle connection at the moment when the request was sent.
            response = await self._http.request(method, url, content=body)
        self._connected = True
        return response


class GrpcClient:
    """One gRPC channel; any number of requests at a time."""

    def __init__(self, target: str = "127.0.0.1:8500", *, timeout: float = 30.0, credentials: Any = None) -> None:
        """Prepare the client; the first request connects.

        Args:
            target: `host:port` or `unix:PATH`.
            timeout: Longest time for one request (seconds).
            credentials: grpc.ChannelCredentials for TLS; None for a plain connection.
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
        """Request predictions.

        Args:
            model: Name of the model.
            inputs: Numpy arrays by input name, in the signature's dtypes.
            signature: Name of the signature; empty for `serving_default`.
            version: A version number; or
            label: a version label. Without both, the highest loaded version answers.
            outputs: Names of the outputs to return; empty for all.

        Returns:
            The outputs by name; text as bytes.

        Raises:
            ServerError: The server refused the request, or did not answer in time.
        """
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(output_filter=outputs)
        _fill_model_spec(request.model_spec, model, signature, version, label)
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        answer = await self._call(self._prediction.Predict, request)
        return {name: tf.make_ndarray(proto) for name, proto in answer.outputs.items()}

    async def status(self, model: str, version: int | None = None) -> list[VersionStatus]:
        """Return the state of a model's versions, or of one version.

        Raises:
            ServerError: There is no such model or version, or the server did not answer.
        """
        from tensorflow.core.protobuf import error_codes_pb2
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        _fill_model_spec(request.model_spec, model, "", version, None)
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
        """Return the signatures of a version: SignatureDef by name.

        Raises:
            ServerError: The version is not loaded, or the server did not answer.
        """
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        _fill_model_spec(request.model_spec, model, "", version, label)
        answer = await self._call(self._prediction.GetModelMetadata, request)
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
        await self._call(self._model.HandleReloadConfigRequest, request, headers, timeout)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def _call(
        self, method: Any, request: Any, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> Any:
        import grpc

        try:
            return await method(request, timeout=timeout or self._timeout, metadata=headers or None)
        except grpc.aio.AioRpcError as error:
            raise ServerError(error.code().name, error.details() or "") from None


def _base_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host and not host.startswith("[") else f"http://{host}:{port}"


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"got the URL {url!r}, expected http://HOST[:PORT][/PREFIX] or https://HOST[:PORT][/PREFIX]")
    return url.rstrip("/")


def _http_client(url: str, verify: bool | str | Path | ssl.SSLContext) -> httpx.AsyncClient:
    import ssl

    import httpx

    if isinstance(verify, (str, Path)):
        verify = ssl.create_default_context(cafile=str(verify))
    host = str(urlsplit(url).hostname)
    # HTTP_PROXY would apply to loopback too, where no proxy can reach what this process reaches.
    direct = {f"all://[{host}]" if ":" in host else f"all://{host}": None} if _is_loopback(host) else None
    return httpx.AsyncClient(
        verify=verify,
        mounts=direct,
        timeout=None,  # `RestClient` limits the whole request, httpx only each step
        headers={"content-type": "application/json", "accept-encoding": "identity"},
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _parsed(response: httpx.Response) -> Any:
    """Return the JSON of a response, with NaN and Infinity as TF Serving writes them; an error may be plain text.

    Raises:
        ValueError: A successful response is not JSON.
    """
    try:
        return json.loads(response.content or b"null")
    except ValueError:
        if response.status_code == 200:
            raise
        return response.text[:_LONGEST_ERROR]  # a proxy's page


def _reason(error: BaseException) -> str:
    """Return the text of the innermost cause: httpx only says that all attempts to connect failed."""
    while (cause := error.__cause__) is not None:
        error = getattr(cause, "exceptions", [cause])[0]  # a group holds one error per address of the host
    return str(error) or type(error).__name__


def _path(model: str, version: int | None, label: str | None) -> str:
    suffix = "" if version is None else f"/versions/{version}"
    suffix = suffix if label is None else f"/labels/{quote(label, safe='')}"
    return f"/v1/models/{quote(model, safe='')}{suffix}"


def _fill_model_spec(spec: Any, model: str, signature: str, version: int | None, label: str | None) -> None:
    spec.name = model
    spec.signature_name = signature
    if label is not None:
        spec.version_label = label
    elif version is not None:
        spec.version.value = version
