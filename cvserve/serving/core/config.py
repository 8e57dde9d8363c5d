"""The settings of the server: one YAML file, or the flags of `cvserve serve`, or both."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cvserve.errors import InvalidInput
from cvserve.serving.core.batch_policy import BatchLimits
from cvserve.serving.core.batcher import QueueBounds
from cvserve.settings import parse, read_yaml


class ModelSettings(BaseModel):
    """How a model runs. At the top of the file they hold for every model, under `models: NAME:` for that one."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    runtime: Literal["auto", "tensorflow", "onnx", "litert"] = "auto"
    """"auto": the fastest here whose parity holds."""

    precision: Literal["float32", "float16", "int8"] | None = None
    """Only graphs of this precision; None takes any usable one."""

    device: str = "cpu"
    """"cpu", "gpu:0", ..."""

    instances: int | None = Field(default=None, ge=1, le=256)
    """How many batches run at the same time; None: one a core, at most four."""

    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads of one instance; None: the cores divided among the instances."""

    batching: bool = True
    """False runs every request alone."""

    max_batch_size: int | None = Field(default=None, ge=1, le=65536)
    """None measures while loading: the smallest size that is nearly as fast a picture as the best."""

    batch_delay_ms: float = Field(default=0.0, ge=0, le=60_000)
    """How long a batch that is not full may wait for company while an instance is idle."""

    allowed_batch_sizes: tuple[int, ...] = ()
    """Ascending sizes that batches are padded to; the last is max_batch_size. Empty: no padding."""

    max_queue_requests: int = Field(default=256, ge=1)
    """Requests that may wait for an instance; more are refused at once."""

    max_queue_bytes: int = Field(default=512 << 20, ge=1)
    """Bytes of tensors that may wait for an instance."""

    max_request_rows: int = Field(default=1024, ge=1)
    """Pictures or rows in one request; a request larger than a batch is split."""

    @model_validator(mode="after")
    def _check(self) -> ModelSettings:
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
    def bounds(self) -> QueueBounds:
        return QueueBounds(self.max_queue_requests, self.max_queue_bytes)


class ServerSettings(ModelSettings):
    """The whole file."""

    host: str = "0.0.0.0"
    """The address to listen on; 127.0.0.1 keeps the server to this machine."""

    port: int = Field(default=8500, ge=0, le=65535)
    """The gRPC port; 0 takes a free one and prints it."""

    max_message_bytes: int = Field(default=64 << 20, ge=1024, le=(1 << 31) - 1)
    """The largest message taken or sent."""

    decode_workers: int | None = Field(default=None, ge=1, le=1024)
    """Threads that decode and resize pictures; None: one a core."""

    max_decode_waiting: int = Field(default=256, ge=0)
    """Pictures that may wait to be decoded; more are refused at once."""

    max_decode_bytes: int = Field(default=512 << 20, ge=1)
    """Bytes of encoded pictures that may wait to be decoded."""

    grace_seconds: float = Field(default=30.0, ge=0, le=3600)
    """How long accepted requests may take after SIGTERM."""

    models: dict[str, ModelSettings] = {}
    """Settings of single models, by name."""

    def of_model(self, name: str) -> ModelSettings:
        """The settings of one model: its own where it has some, the common ones otherwise."""
        own = self.models.get(name)
        values = {key: getattr(self, key) for key in ModelSettings.model_fields}
        if own is not None:
            values |= {key: getattr(own, key) for key in own.model_fields_set}
        return parse(ModelSettings, values, f"the settings of model {name!r}")


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
