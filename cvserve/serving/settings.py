"""The settings of the server: one YAML file, or the flags of `cvserve serve`, or both."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cvserve.errors import InvalidInput
from cvserve.preproc.decode import MAX_PIXELS
from cvserve.runtimes.device import Resources, parse_device
from cvserve.serving.core.batching.bounds import QueueBounds
from cvserve.serving.core.batching.policy import BatchLimits
from cvserve.serving.core.scheduling import GRAPH_NICE
from cvserve.serving.core.version_policy import parse_policy
from cvserve.serving.observability.tracing import TelemetrySettings
from cvserve.serving.security.settings import TlsSettings
from cvserve.settings import nearest, parse, read_yaml


class ModelSettings(BaseModel):
    """How a model runs. At the top of the file they hold for every model, under `models: NAME:` for that one."""

    # The docstrings of the fields are the descriptions of the schema.
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True)

    runtime: Literal["auto", "tensorflow", "onnx", "litert"] = "auto"
    """"auto": the fastest here whose parity holds."""

    precision: Literal["float32", "float16", "int8"] | None = None
    """Only graphs of this precision; None takes any usable one."""

    devices: tuple[str, ...] = Field(default=("cpu",), min_length=1)
    """Where the model runs: "cpu", "gpu:0", ...; on several of them, each batch goes to one that is idle."""

    instances: int | None = Field(default=None, ge=1, le=256)
    """How many batches run at the same time on each device. Where neither this nor `threads` is given, the layouts of
    the cores are measured when the model is loaded for the first time, and remembered."""

    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads of one instance; None: the cores divided among the instances, or measured with them."""

    interop_threads: int | None = Field(default=None, ge=1, le=1024)
    """Operations of one batch that may run at the same time; None: one (onnx), or as many as cores (tensorflow)."""

    gpu_memory_mib: int | None = Field(default=None, ge=1)
    """The most memory taken of each GPU; None: all of it. For tensorflow the first model's wish holds for all."""

    gpu_memory_growth: bool = True
    """GPU memory is taken when it is needed, rather than all of it at the start."""

    gpu_tf32: bool = False
    """TensorFloat-32, quicker on GPUs since Ampere: factors keep 10 of their 23 bits, and answers differ from those of
    the CPU, the export and the phone. For tensorflow it holds only where all models wish it."""

    batching: bool = True
    """False runs every request alone."""

    max_batch_size: int | None = Field(default=None, ge=1, le=65536)
    """None measures while loading: the smallest size that is nearly as fast an image as the best."""

    batch_delay_ms: float = Field(default=0.0, ge=0, le=60_000)
    """How long a batch that is not full may wait for company while an instance is idle."""

    allowed_batch_sizes: tuple[int, ...] = ()
    """Ascending sizes that batches are padded to; the last is max_batch_size. Empty: no padding."""

    max_queue_requests: int = Field(default=256, ge=1)
    """Requests that may wait for an instance; more are refused at once."""

    max_queue_bytes: int = Field(default=512 << 20, ge=1)
    """Bytes of tensors that may wait for an instance."""

    queue_timeout_ms: float | None = Field(default=None, gt=0, le=86_400_000)
    """How long a request may wait for an instance, whatever its deadline; None: as long as its deadline allows."""

    priority_levels: int = Field(default=0, ge=0, le=100)
    """Requests may say `x-priority: 1` (first) to this number (last) in their metadata or headers, and go before
    those of a larger number; 0: all are equal and the header is not read."""

    default_priority: int | None = Field(default=None, ge=1, le=100)
    """Of requests that say none; None: the middle one."""

    max_request_rows: int = Field(default=1024, ge=1)
    """Images or rows in one request; a request larger than a batch is split."""

    warmup: int = Field(default=1, ge=0, le=1000)
    """How often the requests recorded beside a SavedModel are run before it is available; 0: not at all."""

    saved_model_tags: tuple[str, ...] = ("serve",)
    """The tags of the graph, in a SavedModel that cvserve did not make."""

    max_pixels: int = Field(default=MAX_PIXELS, ge=1)
    """Width times height of an encoded image; larger ones are refused before they are decoded."""

    versions: str | tuple[int, ...] = "latest"
    """Which versions are served: "latest", "latest 3", "all", or a list of numbers."""

    labels: dict[str, int] = {}
    """Names for versions, which requests may use instead of numbers."""

    @field_validator("devices", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("devices")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        devices = [parse_device(text) for text in value]
        for device in devices:
            if devices.count(device) > 1:
                raise InvalidInput(f"{device} is there twice; write instances: 2 to run two batches on it")
        return value

    @model_validator(mode="after")
    def _check(self) -> ModelSettings:
        if self.default_priority is not None and self.default_priority > self.priority_levels:
            raise InvalidInput(
                f"default_priority = {self.default_priority} is not among the {self.priority_levels} priority_levels"
            )
        parse_policy(self.versions)
        if self.allowed_batch_sizes:
            self.limits(self.allowed_batch_sizes[-1] if self.max_batch_size is None else self.max_batch_size)
        return self

    def limits(self, max_rows: int) -> BatchLimits:
        """The batcher's view, with the largest batch decided."""
        return BatchLimits(max_rows, self.batch_delay_ms / 1000, self.allowed_batch_sizes, self.batching)

    @property
    def largest_batch(self) -> int | None:
        """The largest batch, where the settings say it."""
        return self.max_batch_size or (self.allowed_batch_sizes or (None,))[-1]

    @property
    def resources(self) -> Resources:
        """What a graph may take beside its threads."""
        return Resources(self.interop_threads, self.gpu_memory_mib, self.gpu_memory_growth, self.gpu_tf32)

    @property
    def bounds(self) -> QueueBounds:
        """How much may wait, how long, and in what order."""
        levels = self.priority_levels
        return QueueBounds(
            self.max_queue_requests,
            self.max_queue_bytes,
            math.inf if self.queue_timeout_ms is None else self.queue_timeout_ms / 1000,
            levels,
            self.default_priority or (levels + 1) // 2,
        )


class ServerSettings(ModelSettings):
    """The whole file."""

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
    """The deadline of a request over HTTP, from the moment that all of it has come."""

    http_read_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """How long the sender of an HTTP request may take over its body; the connection of a slower one is closed."""

    http_idle_seconds: float = Field(default=75.0, gt=0, le=86_400)
    """How long an HTTP connection may stay open without a (whole) head of a request."""

    max_http_bytes: int = Field(default=512 << 20, ge=1024)
    """Bytes of all HTTP bodies that are coming or being read at the same time; more are refused."""

    http_cors: bool = False
    """Whether pages of other origins may ask over HTTP."""

    metrics_path: str = Field(default="/monitoring/prometheus/metrics", pattern="^/")
    """Where Prometheus finds the metrics on the HTTP port."""

    tls: TlsSettings | None = Field(default=None, repr=False)
    """The server's certificate and key, and the authorities of clients; None: both ports are plain."""

    tokens: str | None = Field(default=None, repr=False)
    """A file of bearer tokens with their rights and models, read again when it changes; None: everybody may ask."""

    reflection: bool = True
    """Whether the gRPC port tells anybody which services it has."""

    log_format: Literal["console", "json"] = "console"
    """Lines for people, or one JSON object each."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""

    log_requests: Literal["errors", "all"] = "errors"
    """A line for each request: only for those of management and those that failed through the server's fault, or for
    all."""

    telemetry: TelemetrySettings | None = None
    """OpenTelemetry traces (cvserve[telemetry]); None: none."""

    max_concurrent_rpcs: int | None = Field(default=None, ge=1)
    """gRPC requests and streams that are open at the same time; more are refused with RESOURCE_EXHAUSTED at once. None:
    no bound but those of the queues."""

    max_concurrent_streams: int = Field(default=1024, ge=1)
    """The same for each connection; its further requests wait in the client."""

    tensor_content: bool = False
    """Whether Predict over gRPC answers numbers in tensor_content, which is smaller and which not every client of
    TensorFlow Serving reads, rather than in typed fields."""

    max_message_bytes: int = Field(default=64 << 20, ge=1024, le=(1 << 31) - 1)
    """The largest message taken or sent."""

    decode_workers: int | None = Field(default=None, ge=1, le=1024)
    """Threads that decode and resize images; None: one a core."""

    graph_nice: int = Field(default=GRAPH_NICE, ge=0, le=19)
    """How much nicer (Linux) the threads that run graphs are than those that move messages, so that under overload
    refusals come at once and the cores go to the graphs. On cores that the server shares with other work, and in the
    same group of processes, that work takes the larger share too: then say 0."""

    max_decode_waiting: int = Field(default=256, ge=0)
    """Images that may wait to be decoded; more are refused at once."""

    max_decode_bytes: int = Field(default=512 << 20, ge=1)
    """Bytes of encoded images that may wait to be decoded."""

    stream_window: int = Field(default=8, ge=1, le=1024)
    """Frames of one VisionService/Stream that may be under way; no more are read until the first is answered."""

    grace_seconds: float = Field(default=30.0, ge=0, le=3600)
    """How long accepted requests may take after SIGTERM."""

    poll_seconds: float = Field(default=1.0, ge=0, le=86400)
    """How often the disk is looked at for new and removed versions and models; 0: never, only when asked."""

    load_retry_seconds: float = Field(default=60.0, ge=0)
    """When a version that could not be loaded is tried again; at once when a file of it changes."""

    max_load_retries: int = Field(default=5, ge=0)
    """How often a version that does not change is tried again."""

    model_roots: tuple[Path, ...] = ()
    """Directories that a request which lists models anew may name, beside the repository (or, without one, beside the
    directories of the models that the server was started with)."""

    allow_version_labels_for_unavailable_models: bool = False
    """Whether a reload may give a new label to a version that is not loaded."""

    models: dict[str, ModelSettings] = {}
    """Settings of single models, by name."""

    def of_model(self, name: str) -> ModelSettings:
        """The settings of one model: its own where it has some, the common ones otherwise."""
        own = self.models.get(name)
        values = {key: getattr(self, key) for key in ModelSettings.model_fields}
        if own is not None:
            values |= {key: getattr(own, key) for key in own.model_fields_set}
        return parse(ModelSettings, values, f"the settings of model {name!r}")

    def check_names(self, names: list[str]) -> None:
        """Checks that the models with settings of their own are among these.

        Raises:
            InvalidInput: one of them is not there.
        """
        for name in self.models:
            if name not in names:
                raise InvalidInput(f"the settings name a model {name!r} that is not there{nearest(name, names)}")


def load_settings(source: str | Path | dict[str, Any] | ServerSettings | None, **overrides: Any) -> ServerSettings:
    """The server's settings.

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
    return parse(ServerSettings, values | {key: value for key, value in overrides.items() if value is not None}, what)
