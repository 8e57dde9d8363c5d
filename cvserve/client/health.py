"""Calls grpc.health.v1 without its package, since its two messages have one field each."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from cvserve.errors import CvserveError


class Health(IntEnum):
    """Lists the states of a server, a service or a model, as ServingStatus of health.proto."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3

    def __str__(self) -> str:
        return self.name


def check(channel: Any) -> Any:
    """Returns the method Check of a channel of grpc or grpc.aio."""
    return channel.unary_unary("/grpc.health.v1.Health/Check", _request, _status)


def watch(channel: Any) -> Any:
    """Returns the method Watch of a channel of grpc or grpc.aio."""
    return channel.unary_stream("/grpc.health.v1.Health/Watch", _request, _status)


def _request(service: str) -> bytes:
    """Returns a serialised HealthCheckRequest {string service = 1}."""
    name = service.encode()
    if not name:
        return b""
    length, size = bytearray(), len(name)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return b"\x0a" + bytes([*length, size]) + name


def _status(response: bytes) -> Health:
    """Reads a HealthCheckResponse {ServingStatus status = 1}; protobuf leaves out a zero."""
    if not response:
        return Health.UNKNOWN
    if len(response) != 2 or response[0] != 0x08 or response[1] > max(Health):
        raise CvserveError(f"the server's health is not a HealthCheckResponse: {response[:20].hex()}")
    return Health(response[1])
