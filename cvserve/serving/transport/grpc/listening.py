"""Opens the gRPC port, with its options and certificates."""

from __future__ import annotations

import errno
import socket

import grpc

from cvserve.errors import InvalidInput
from cvserve.serving.security import grpc_credentials
from cvserve.serving.settings import ServerSettings


def listen(settings: ServerSettings) -> tuple[grpc.aio.Server, int]:
    """Returns a server that is bound to its port but does not answer yet, and the port.

    The port is 0 where the server has a UNIX socket only.

    Raises:
        InvalidInput: the port is in use, or there is none to listen on. NotFound: a certificate is not there.
    """
    options: dict[str, int | str] = {
        "grpc.max_receive_message_length": settings.max_message_bytes,
        "grpc.max_send_message_length": settings.max_message_bytes,
        # Otherwise a second server on the same port would share it without an error.
        "grpc.so_reuseport": 0,
        # Clients may ping every ten seconds, also between calls, to keep routers from closing idle connections. The
        # server itself pings after a minute without traffic, to find clients that have gone.
        "grpc.http2.min_recv_ping_interval_without_data_ms": 10_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.keepalive_time_ms": 60_000,
        "grpc.keepalive_timeout_ms": 20_000,
        # An image of a hundred kilobytes so takes one frame and few reads rather than a dozen of each.
        "grpc.http2.max_frame_size": 4 << 20,
        "grpc.http2.lookahead_bytes": 4 << 20,
        "grpc.experimental.tcp_min_read_chunk_size": 128 << 10,
        "grpc.experimental.tcp_read_chunk_size": 256 << 10,
        "grpc.experimental.tcp_max_read_chunk_size": 4 << 20,
        "grpc.max_concurrent_streams": settings.max_concurrent_streams,
        **settings.channel_options,
    }
    server = grpc.aio.server(
        options=list(options.items()),
        maximum_concurrent_rpcs=settings.max_concurrent_rpcs,
    )
    if settings.port < 0 and not settings.unix_socket:
        raise InvalidInput("port = -1 listens nowhere; give a port, or a unix_socket")
    port = _bind(server, settings, f"{settings.host}:{settings.port}") if settings.port >= 0 else 0
    if settings.unix_socket:
        _bind(server, settings, f"unix:{settings.unix_socket}")
    return server, port


def _bind(server: grpc.aio.Server, settings: ServerSettings, target: str) -> int:
    """Binds the server to an address, and returns the port."""
    try:
        if settings.tls is not None:
            return int(server.add_secure_port(target, grpc_credentials(settings.tls)))
        return int(server.add_insecure_port(target))
    except RuntimeError as error:
        if target.startswith("unix:"):
            raise InvalidInput(f"cannot listen on {target}: no socket can be made there") from error
        raise InvalidInput(f"cannot listen on {target}: {_why(settings.host, settings.port)}") from error


def _why(host: str, port: int) -> str:
    """Returns the reason why the system refuses an address, which gRPC does not give."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "the port is in use; choose another one with --port"
        return error.strerror or str(error)
    return "the address cannot be used"
