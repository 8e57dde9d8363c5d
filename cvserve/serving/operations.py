"""From the server's settings to the gate of its requests."""

from __future__ import annotations

import ipaddress
import logging

from cvserve.serving.core.observer import Observer
from cvserve.serving.observability.logs import log_visit
from cvserve.serving.observability.tracing import NO_TRACES, OpenTelemetry
from cvserve.serving.security import Access
from cvserve.serving.settings import ServerSettings
from cvserve.serving.transport.interceptor import Gate

_LOG = logging.getLogger(__name__)


def open_gate(settings: ServerSettings, observer: Observer) -> Gate:
    """The gate that the settings describe.

    Raises:
        NotFound, InvalidInput: the file of tokens. MissingExtra: traces are wanted and not installed.
    """
    access = Access(settings.tokens)
    if access.required and settings.tls is None and not _is_local(settings.host):
        _LOG.warning("tokens are asked for without tls: whoever can read the network can read them")
    tracing = NO_TRACES if settings.telemetry is None else OpenTelemetry(settings.telemetry)
    return Gate(
        observer,
        access,
        log=log_visit,
        log_requests=settings.log_requests,
        tracing=tracing,
        priorities=any(model.priority_levels for model in (settings, *settings.models.values())),
    )


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
