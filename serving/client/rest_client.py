"""The client of the REST API."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

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
    import httpx
    import numpy as np
    from typing_extensions import Self


_Value = TypeVar("_Value")

_LONGEST_ERROR = 500  # characters
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


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
        self._timeout = checked_timeout(timeout)
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
        answer = await self.answer(
            model,
            instances=instances,
            inputs=inputs,
            signature=signature,
            version=version,
            label=label,
            missing=missing,
        )
        return answer.predictions

    async def answer(
        self,
        model: str,
        *,
        instances: Sequence[Any] | np.ndarray[Any, Any] | None = None,
        inputs: Any = None,
        signature: str = "",
        version: int | None = None,
        label: str | None = None,
        missing: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Request predictions, and return them with the version that gave them; arguments and errors as in `predict`.

        A label, or no version at all, may mean another version at any time.
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
        response = await self._response("POST", path, body)
        predictions = self._read(response, lambda document: document[answer])
        return Answer(predictions, version_of(response.headers.items()))

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

    async def _request(self, method: str, path: str, body: bytes = b"", *, read: Callable[[Any], _Value]) -> _Value:
        """Send a request and return what `read` takes out of the answer's JSON."""
        return self._read(await self._response(method, path, body), read)

    async def _response(self, method: str, path: str, body: bytes = b"") -> httpx.Response:
        """Send a request and return the response, which is not an error."""
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
        return response

    def _read(self, response: httpx.Response, read: Callable[[Any], _Value]) -> _Value:
        try:
            # NaN and Infinity are allowed, as TF Serving writes them.
            return read(json.loads(response.content))
        except (LookupError, TypeError, ValueError, RecursionError):
            got = response.text[:_LONGEST_ERROR] or "nothing"
            raise ServerError("UNKNOWN", f"{response.url}: not an answer of TF Serving's API: {got}") from None

    def _open(self) -> httpx.AsyncClient:
        """Return the HTTP client of the running event loop.

        Raises:
            UsageError: This client is closed, or another event loop uses it, or the environment is wrong.
        """
        loop = asyncio.get_running_loop()
        check_free(self._closed, self._loop)
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
    check_names(model, version, label)
    suffix = "" if version is None else f"/versions/{int(version)}"
    suffix = suffix if label is None else f"/labels/{quote(label, safe='')}"
    return f"/v1/models/{quote(model, safe='')}{suffix}"
