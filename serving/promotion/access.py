"""The rights that a change has at the servers it is sent to: the token, and TLS."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benison.serving.errors import UsageError

TOKEN = "BENISON_ADMIN_TOKEN"
CA, CERTIFICATE, KEY = "BENISON_SERVER_CA", "BENISON_CLIENT_CERTIFICATE", "BENISON_CLIENT_KEY"


@dataclass(frozen=True)
class Access:
    """The token of a server's administrator, and PEM files for TLS.

    Attributes:
        token: The servers' BENISON_ADMIN_TOKEN.
        ca: File of the certificates that sign the servers' ones; empty for those that the system trusts.
        certificate: File of the client's certificate, for servers that require one.
        key: File of its private key.
    """

    token: str = field(default="", repr=False)
    ca: str = ""
    certificate: str = ""
    key: str = ""

    @property
    def is_encrypted(self) -> bool:
        """True if the servers are reached over TLS."""
        return bool(self.ca or self.certificate or self.key)

    def credentials(self) -> Any:
        """Return grpc.ChannelCredentials; None for a plain connection.

        Raises:
            UsageError: A file is missing, or a certificate has no key.
        """
        import grpc

        if not self.is_encrypted:
            return None
        if bool(self.certificate) != bool(self.key):
            raise UsageError(
                f"TLS: got {'a client certificate' if self.certificate else 'a key'} alone, expected both: "
                f"--client-certificate and --client-key ({CERTIFICATE} and {KEY})"
            )
        files = (self.ca, self.key, self.certificate)
        return grpc.ssl_channel_credentials(*(_content(file) if file else None for file in files))

    def hint(self, message: str) -> str:
        """Return what to do about gRPC's message for a connection that failed; empty if the message says it itself.

        Args:
            message: The text of the error UNAVAILABLE.
        """
        if "http1.x server" in message:
            return "it speaks HTTP; expected the server's gRPC port"
        if "WRONG_VERSION_NUMBER" in message and self.is_encrypted:
            return f"it does not speak TLS; leave out --ca ({CA}) and the client's certificate"
        if "Socket closed" not in message:
            return ""
        if not self.is_encrypted:
            return f"if it speaks TLS, --ca ({CA}) names the certificates that sign the server's one"
        if not self.certificate:
            return (
                f"if it requires a client certificate, set --client-certificate and --client-key ({CERTIFICATE}, {KEY})"
            )
        return ""


def from_environment() -> Access:
    """Return what the environment variables say."""
    return Access(*(os.environ.get(name, "") for name in (TOKEN, CA, CERTIFICATE, KEY)))


def _content(file: str) -> bytes:
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"TLS: {file} cannot be read: {error.strerror}") from None
    if b"-----BEGIN " not in content:
        raise UsageError(f"TLS: {file} is not a PEM file: it has no line -----BEGIN …")
    return content
