"""The settings of the server: one YAML file, or the flags of `cvserve serve`, or both."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from cvserve.errors import InvalidInput
from cvserve.serving.core.settings import EngineSettings
from cvserve.serving.observability.tracing import TelemetrySettings
from cvserve.serving.security.settings import TlsSettings
from cvserve.settings import nearest, parse, read_yaml

_LOG = logging.getLogger(__name__)


class ServerSettings(EngineSettings):
    """Holds all settings of a server."""

    host: str = "0.0.0.0"
    """The address to listen on; 127.0.0.1 keeps the server to this machine."""

    port: int = Field(default=8500, ge=-1, le=65535)
    """The gRPC port; 0 takes a free one and prints it, -1 none (then `unix_socket` is needed)."""

    unix_socket: str = ""
    """The path of a UNIX socket on which gRPC is answered too; "": none."""

    channel_options: dict[str, int | str] = {}
    """Options of the gRPC server (`grpc.max_connection_age_ms: 60000`), over those that it has by itself."""

    http_port: int | None = Field(default=None, ge=-1, le=65535)
    """The HTTP port; 0 takes a free one, -1 none. None: 8501, or a free one where `port` is 0."""

    http_timeout_seconds: float = Field(default=30.0, gt=0, le=86_400)
    """The deadline of a request over HTTP, counted from the moment that all of it has arrived."""

    http_read_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """Seconds that an HTTP client may take to send a body; the connection of a slower one is closed."""

    http_idle_seconds: float = Field(default=75.0, gt=0, le=86_400)
    """Seconds that an HTTP connection may stay open without the complete header of a request."""

    max_http_bytes: int = Field(default=512 << 20, ge=1024)
    """Bytes of all HTTP bodies that are received or used at the same time; more are refused."""

    http_cors: bool = False
    """Whether pages of other origins may send HTTP requests."""

    metrics_path: str = Field(default="/monitoring/prometheus/metrics", pattern="^/")
    """Where Prometheus finds the metrics on the HTTP port."""

    tls: TlsSettings | None = Field(default=None, repr=False)
    """The server's certificate and key, and the authorities that sign clients' certificates; None: no TLS."""

    tokens: str | None = Field(default=None, repr=False)
    """A file of bearer tokens with their rights and models, read again when it changes; None: no request needs a
    token."""

    reflection: bool = True
    """Whether the gRPC port has the reflection service, which needs no token."""

    log_format: Literal["console", "json"] = "console"
    """The format of the log: lines for people, or one JSON object each."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is logged."""

    log_requests: Literal["errors", "all"] = "errors"
    """Which requests are logged: those of management and those that failed by the server's fault, or all."""

    telemetry: TelemetrySettings | None = None
    """OpenTelemetry traces (needs cvserve[telemetry]); None: no traces."""

    max_concurrent_rpcs: int | None = Field(default=None, ge=1)
    """gRPC requests and streams that are open at the same time; more are refused with RESOURCE_EXHAUSTED at once. None:
    no limit but those of the queues."""

    max_concurrent_streams: int = Field(default=1024, ge=1)
    """gRPC requests of one connection that are open at the same time; further ones wait in the client."""

    tensor_content: bool = False
    """Whether Predict over gRPC writes numbers to tensor_content instead of typed fields. That is smaller, but some
    clients of TensorFlow Serving do not read it."""

    max_message_bytes: int = Field(default=64 << 20, ge=1024, le=(1 << 31) - 1)
    """Bytes of the largest gRPC message that is received or sent."""

    stream_window: int = Field(default=8, ge=1, le=1024)
    """Frames of one VisionService/Stream that are worked on at the same time; the next is read when the first of them
    is answered."""

    grace_seconds: float = Field(default=30.0, ge=0, le=3600)
    """Seconds that accepted requests may take after SIGTERM."""

    poll_seconds: float = Field(default=1.0, ge=0, le=86400)
    """Seconds between two checks of the disk for new and removed versions and models; 0: only on request."""

    def check_names(self, names: list[str]) -> None:
        """Checks that every model with its own settings is among these.

        Raises:
            InvalidInput: one of them is not there.
        """
        for name in self.models:
            if name not in names:
                raise InvalidInput(f"the settings name a model {name!r} that is not there{nearest(name, names)}")


def load_settings(source: str | Path | dict[str, Any] | ServerSettings | None, **overrides: Any) -> ServerSettings:
    """Returns the server's settings.

    Args:
        source: a YAML file, a mapping, settings as they are, or None for the defaults.
        overrides: settings that win over `source`; those that are None count as not given.

    Raises:
        NotFound: no such file. InvalidInput: a key or a value that does not fit; an unknown key names the nearest.
    """
    what = "the server's settings"
    if isinstance(source, ServerSettings):
        values = source.model_dump(exclude_unset=True)
    elif isinstance(source, str | os.PathLike):
        values, what = read_yaml(source), str(source)
    elif source is None or isinstance(source, dict):
        values = dict(source or {})
    else:
        raise InvalidInput(f"the server's settings must be a file or a mapping, not {type(source).__name__}")
    values |= {key: value for key, value in overrides.items() if value is not None}
    if "graph_nice" in values and not isinstance(source, ServerSettings):
        _LOG.warning("%s: graph_nice has no effect any more and can be removed", what)
    return parse(ServerSettings, values, what)
