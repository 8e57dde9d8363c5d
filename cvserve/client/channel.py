"""Opens the channel of a client, with its TLS, and makes the headers of its calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from cvserve.client.failures import REQUEST_ID
from cvserve.errors import InvalidInput, NotFound

MAX_MESSAGE_BYTES = 64 << 20
"""The same as the server's default."""

Token = str | Callable[[], str]
"""A bearer token, or a function that returns it for each call."""


@dataclass(frozen=True)
class Tls:
    """Holds the certificates of a client, each as a PEM file, or as the bytes of one.

    ca: the authorities that sign the server's certificate; None: those of gRPC. certificate, key: the client's own, for
    servers that require one (mutual TLS). server_name: the name on the server's certificate, where it
    is not the target's host.
    """

    ca: str | Path | bytes | None = None
    certificate: str | Path | bytes | None = None
    key: str | Path | bytes | None = None
    server_name: str | None = None

    def credentials(self) -> Any:
        """Returns the credentials of a channel.

        Raises:
            NotFound, InvalidInput: a file does not exist, or a certificate has no key.
        """
        if (self.certificate is None) != (self.key is None):
            raise InvalidInput("a client's certificate and its key go together; give both or neither")
        return grpc.ssl_channel_credentials(_pem(self.ca), _pem(self.key), _pem(self.certificate))


def _pem(source: str | Path | bytes | None) -> bytes | None:
    if source is None or isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"no certificate or key at {source}") from error
    except OSError as error:
        raise InvalidInput(f"{source} cannot be read: {error.strerror}") from error


def open_channel(library: Any, target: str, tls: Tls | None, max_message_bytes: int) -> Any:
    """Opens a channel of `library`: grpc or grpc.aio."""
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # Reconnects to a restarted server within two seconds, not gRPC's up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]
    if tls is None:
        return library.insecure_channel(target, options=options)
    if tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return library.secure_channel(target, tls.credentials(), options=options)


def as_tls(tls: Tls | bool | None) -> Tls | None:
    """Returns the TLS settings; True stands for TLS with the usual authorities."""
    if isinstance(tls, bool):
        return Tls() if tls else None
    return tls


def headers(token: Token | None, request_id: str | None) -> tuple[tuple[str, str], ...] | None:
    """Returns the metadata of a call.

    Raises:
        InvalidInput: a token or an id that a header cannot hold.
    """
    values: list[tuple[str, str]] = []
    if token is not None:
        values.append(("authorization", f"Bearer {token if isinstance(token, str) else token()}"))
    if request_id is not None:
        values.append((REQUEST_ID, request_id))
    for name, value in values:
        # The value itself may be a secret.
        if not (value.isascii() and value.isprintable()):
            raise InvalidInput(f"the {'token' if name == 'authorization' else 'request id'} must be printable ASCII")
    return tuple(values) or None
