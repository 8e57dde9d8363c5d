"""Opens the socket of the HTTP port."""

from __future__ import annotations

import errno
import socket

from cvserve.errors import InvalidInput
from cvserve.serving.settings import ServerSettings

DEFAULT_PORT = 8501
"""The HTTP port of TensorFlow Serving's container images."""


def http_port(settings: ServerSettings) -> int | None:
    """Returns the HTTP port of the settings: 0 for any free one, None for no HTTP at all."""
    if settings.http_port is None:
        return 0 if settings.port == 0 else DEFAULT_PORT
    return None if settings.http_port < 0 else settings.http_port


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound to the port and does not listen yet.

    Raises:
        InvalidInput: the port is in use, or the address is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InvalidInput(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    try:
        # Allows the port of a server that has just ended, whose connections are still being closed.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(address)
    except OSError as error:
        made.close()
        in_use = error.errno == errno.EADDRINUSE
        why = "the port is in use; choose another one with --http-port" if in_use else error.strerror or str(error)
        raise InvalidInput(f"cannot listen on {host}:{port}: {why}") from error
    return made
