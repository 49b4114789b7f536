"""Clients for asyncio, over REST and gRPC, of Benison's server, TensorFlow Serving and every server with its API."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from benison.serving import missing_values
from benison.serving.errors import BenisonError, UsageError

if TYPE_CHECKING:
    import httpx
    import numpy as np
    from typing_extensions import Self


_Answer = TypeVar("_Answer")

_LONGEST_ERROR = 500  # characters
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class ServerError(BenisonError):
    """The server refused a request, or could not be reached.

    Attributes:
        code: gRPC's name of the error, such as `NOT_FOUND`; over REST `HTTP 404`; `UNAVAILABLE` if nobody answered;
            `UNKNOWN` for an answer that is not one of TF Serving's API.
        message: The server's text, or why it could not be reached.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)  # pickle makes the copy from these
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


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
            UsageError: An argument is wrong; the message names it.
        """
        self._url = _base_url(host, port) if url is None else _checked_url(url)
        self._timeout = _checked_timeout(timeout)
        self._verify = _checked_verify(verify)
        self._http: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connected = False
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        await self.close()

    async def predict(
        self,
        model: str,
        *,
        instances: Sequence[Any] | np.ndarray[Any, Any] | None = None,
        inputs: Any = None,
        signature: str = "",
        version: int | None = None,
        label: str | None = None,
        missing: Mapping[str, Any] | None = None,
    ) -> Any:
        """Request predictions.

        Args:
            model: Name of the model.
            instances: Rows, each a value or an object by input name; or
            inputs: One tensor, or one per input name. Numpy's arrays and numbers are allowed in both, and so are bytes.
            signature: Name of the signature; empty for `serving_default`.
            version: A version number; or
            label: a version label. Without both, the highest loaded version answers.
            missing: By input, the value to send in place of None and of an absent key (`Version.missing_values`).
                Benison's server fills them in itself; TensorFlow Serving does not.

        Returns:
            `predictions` or `outputs` of the response.

        Raises:
            ServerError: The server refused the request, or did not answer in time.
            UsageError: An argument is wrong, or the client is closed.
        """
        if (instances is None) == (inputs is None):
            raise UsageError(f"got {'neither' if inputs is None else 'both'} of instances and inputs, expected one")
        if missing and instances is not None:
            instances = missing_values.fill_rows(list(instances), missing)
        elif missing and isinstance(inputs, Mapping):
            inputs = missing_values.fill_columns(inputs, missing)
        key, value = ("inputs", inputs) if instances is None else ("instances", instances)
        body = _json({key: value, **({"signature_name": signature} if signature else {})})
        answer = "outputs" if instances is None else "predictions"
        path = f"{_path(model, version, label)}:predict"
        return await self._request("POST", path, body, read=lambda response: response[answer])

    async def status(self, model: str, version: int | None = None) -> list[VersionStatus]:
        """Return the state of a model's versions, or of one version.

        Raises:
            ServerError: There is no such model or version, or the server did not answer.
        """
        return await self._request("GET", _path(model, version, None), read=_statuses)

    async def metadata(self, model: str, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """Return the signatures of a version: SignatureDef as JSON, by name.

        Raises:
            ServerError: The version is not loaded, or the server did not answer.
        """
        path = f"{_path(model, version, label)}/metadata"
        return await self._request(
            "GET", path, read=lambda answer: dict(answer["metadata"]["signature_def"]["signature_def"])
        )

    async def close(self) -> None:
        """Close the connections; requests that still run fail with ServerError."""
        self._closed = True
        http, self._http = self._http, None
        if http is not None and self._loop is asyncio.get_running_loop():
            await http.aclose()

    async def _request(self, method: str, path: str, body: bytes = b"", *, read: Callable[[Any], _Answer]) -> _Answer:
        """Send a request and return what `read` takes out of the answer's JSON."""
        url = self._url + path
        http = self._open()
        try:
            response = await asyncio.wait_for(self._send(http, method, url, body), self._timeout)
        except asyncio.TimeoutError:
            raise ServerError("DEADLINE_EXCEEDED", f"no answer within {self._timeout:g} s") from None
        except Exception as error:  # httpx lets some errors of its libraries through, such as that of a closed pool
            reason = "the client was closed" if self._closed else _reason(error)
            raise ServerError("UNAVAILABLE", f"{self._url}: {reason}") from None
        if response.status_code != 200:
            raise ServerError(f"HTTP {response.status_code}", _refusal(response))
        try:
            # NaN and Infinity are allowed, as TF Serving writes them.
            return read(json.loads(response.content))
        except (LookupError, TypeError, ValueError, RecursionError):
            got = response.text[:_LONGEST_ERROR] or "nothing"
            raise ServerError("UNKNOWN", f"{url}: not an answer of TF Serving's API: {got}") from None

    def _open(self) -> httpx.AsyncClient:
        """Return the HTTP client of the running event loop.

        Raises:
            UsageError: This client is closed, or another event loop uses it, or the environment is wrong.
        """
        loop = asyncio.get_running_loop()
        _check_free(self._closed, self._loop)
        if self._http is None or self._loop is not loop:  # connections end with their event loop
            self._http, self._loop, self._connected = _http_client(self._url, self._verify), loop, False
        return self._http

    async def _send(self, http: httpx.AsyncClient, method: str, url: str, body: bytes) -> httpx.Response:
        import httpx

        was_connected = self._connected
        try:
            response = await http.request(method, url, content=body)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            if not was_connected:
                raise
            # The server closed an idle connection at the moment when the request was sent.
            response = await http.request(method, url, content=body)
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

        Raises:
            UsageError: An argument is wrong; the message names it.
        """
        self._target = _checked_target(target)
        self._credentials = credentials
        self._timeout = _checked_timeout(timeout)
        self._channel: Any = None
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
            inputs: Numpy arrays by input name, in the signature's dtypes; or lists, with `missing` also with None.
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
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(output_filter=outputs)
        _fill_model_spec(request.model_spec, model, signature, version, label)
        for name, values in missing_values.fill_arrays(inputs, missing or {}).items():
            try:
                request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
            except (TypeError, ValueError) as error:
                raise UsageError(f"inputs: {name}: not a tensor: {error}") from None
        answer = await self._call("PredictionService", "Predict", request)
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
        import grpc

        send = getattr(self._stub(service), method)
        try:
            return await send(request, timeout=timeout or self._timeout, metadata=headers or None)
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
        _check_free(self._closed, self._loop)
        if self._channel is None or self._loop is not loop:
            options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
            self._loop = loop
            self._channel = (
                grpc.aio.secure_channel(self._target, self._credentials, options)
                if self._credentials
                else grpc.aio.insecure_channel(self._target, options)
            )
        if service == "ModelService":
            return model_service_pb2_grpc.ModelServiceStub(self._channel)
        return prediction_service_pb2_grpc.PredictionServiceStub(self._channel)


def _check_free(closed: bool, loop: asyncio.AbstractEventLoop | None) -> None:
    """Check that a client can be used in the running event loop.

    Raises:
        UsageError: It is closed, or another event loop that is not closed uses it.
    """
    if closed:
        raise UsageError("the client is closed; make another one")
    if loop is not None and loop is not asyncio.get_running_loop() and not loop.is_closed():
        raise UsageError("another event loop uses the client; make one client for each")


def _base_url(host: Any, port: Any) -> str:
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise UsageError(f"port: got {port!r}, expected a whole number from 1 to 65535")
    name = str(host)
    name = name.strip("[]") if _is_ipv6(name.strip("[]")) else name
    if not name or (":" in name and not _is_ipv6(name)) or set(name) & set("/?#@[]\\ ") or not isinstance(host, str):
        raise UsageError(f"host: got {host!r}, expected a name or an address, without http:// and port")
    return _checked_url(f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}", "host")


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _checked_url(url: str, argument: str = "url") -> str:
    import httpx

    mistake = f"{argument}: got {url!r}, expected http://HOST[:PORT][/PREFIX] or https://HOST[:PORT][/PREFIX]"
    try:
        parts = urlsplit(url)
        httpx.URL(url)
        if (
            parts.scheme in ("http", "https")
            and parts.hostname
            and parts.port != 0
            and not parts.query + parts.fragment
        ):
            return url.rstrip("/")
    except (ValueError, TypeError, AttributeError, httpx.InvalidURL):
        raise UsageError(mistake) from None
    raise UsageError(mistake)


def _checked_target(target: Any) -> str:
    if isinstance(target, str) and target:
        return target
    raise UsageError(f"target: got {target!r}, expected HOST:PORT or unix:PATH")


def _checked_timeout(timeout: Any) -> float:
    if isinstance(timeout, (int, float)) and timeout > 0:
        return timeout
    raise UsageError(f"timeout: got {timeout!r}, expected a number of seconds above 0")


def _checked_verify(verify: bool | str | Path | ssl.SSLContext) -> bool | ssl.SSLContext:
    if isinstance(verify, (bool, ssl.SSLContext)):
        return verify
    if not isinstance(verify, (str, Path)):
        raise UsageError(f"verify: got {verify!r}, expected True, False, the path of a PEM file or an SSLContext")
    try:
        return ssl.create_default_context(cafile=os.fspath(verify) or os.curdir)
    except (OSError, ValueError) as error:
        raise UsageError(f"verify: {verify}: not a PEM file of authorities: {error}") from None


def _http_client(url: str, verify: bool | ssl.SSLContext) -> httpx.AsyncClient:
    """Make a client for any number of requests at a time.

    Raises:
        UsageError: A variable of the environment names proxies or authorities that cannot be used.
    """
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    try:
        context = httpx.create_ssl_context(verify=verify)
    except (OSError, ValueError) as error:
        raise UsageError(f"{_set_variables(_AUTHORITIES)}: cannot be used: {error}") from None
    # HTTP_PROXY would apply to loopback too, where no proxy can reach what this process reaches. A client with its own
    # transport ignores it.
    direct = (
        httpx.AsyncHTTPTransport(verify=context, limits=limits) if _is_loopback(str(urlsplit(url).hostname)) else None
    )
    try:
        return httpx.AsyncClient(
            verify=context,
            limits=limits,
            transport=direct,
            timeout=None,  # `RestClient` limits the whole request, httpx only each step
            headers={"content-type": "application/json", "accept-encoding": "identity"},
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise UsageError(f"{_set_variables(_PROXIES)}: cannot be used as proxies: {error}") from None


def _set_variables(names: Sequence[str]) -> str:
    return ", ".join(name for upper in names for name in (upper, upper.lower()) if os.environ.get(name))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _json(body: Any) -> bytes:
    try:
        return json.dumps(body, default=_plain_value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"instances, inputs: cannot be written as JSON: {error}") from None


def _plain_value(value: Any) -> Any:
    """Convert a value that JSON lacks: an array or a number of numpy, or bytes in TF Serving's form."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"got a {type(value).__name__}")


def _statuses(answer: Any) -> list[VersionStatus]:
    return [
        VersionStatus(
            int(entry["version"]), entry["state"], entry["status"]["error_code"], entry["status"]["error_message"]
        )
        for entry in answer["model_version_status"]
    ]


def _refusal(response: httpx.Response) -> str:
    """Return the text of an error: TF Serving's JSON, a proxy's page, or the status in words if there is no text."""
    if location := response.headers.get("location"):
        return f"{response.reason_phrase}: {location}"
    try:
        answer = json.loads(response.content)
    except (ValueError, RecursionError):
        return response.text[:_LONGEST_ERROR] or response.reason_phrase
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if error and isinstance(error, str) else response.text[:_LONGEST_ERROR]


def _reason(error: BaseException) -> str:
    """Return the text of the innermost cause: httpx only says that all attempts to connect failed."""
    while (cause := error.__cause__) is not None:
        error = getattr(cause, "exceptions", [cause])[0]  # a group holds one error per address of the host
    return str(error) or type(error).__name__


def _path(model: str, version: int | None, label: str | None) -> str:
    _check_names(model, version, label)
    suffix = "" if version is None else f"/versions/{int(version)}"
    suffix = suffix if label is None else f"/labels/{quote(label, safe='')}"
    return f"/v1/models/{quote(model, safe='')}{suffix}"


def _check_names(model: Any, version: Any, label: Any) -> None:
    if not isinstance(model, str) or not model:
        raise UsageError(f"model: got {model!r}, expected its name")
    if version is not None and (not hasattr(version, "__index__") or isinstance(version, bool)):  # numpy's int too
        raise UsageError(f"version: got {version!r}, expected a whole number")
    if label is not None and (not isinstance(label, str) or not label):
        raise UsageError(f"label: got {label!r}, expected text")
    if version is not None and label is not None:
        raise UsageError("got both of version and label, expected at most one")


def _fill_model_spec(spec: Any, model: str, signature: str, version: int | None, label: str | None) -> None:
    _check_names(model, version, label)
    spec.name = model
    spec.signature_name = signature
    if label is not None:
        spec.version_label = label
    elif version is not None:
        try:
            spec.version.value = int(version)
        except ValueError:
            raise UsageError(f"version: got {version}, expected a number of at most 63 bits") from None
