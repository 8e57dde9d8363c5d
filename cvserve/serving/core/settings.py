"""The settings of the core: how one model runs, what all models share, and which models are served."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cvserve.artifact.graphs import Precision
from cvserve.errors import InvalidInput
from cvserve.preproc.decode import MAX_PIXELS
from cvserve.runtimes.device import Resources, parse_device
from cvserve.serving.core.batching.policy import BatchLimits, QueueBounds
from cvserve.serving.core.version_policy import Latest, VersionPolicy, parse_policy
from cvserve.settings import parse


class ModelSettings(BaseModel):
    """Holds how a model runs. At the top of the file it is for every model, under `models: NAME:` for that one."""

    # The docstrings of the fields are the descriptions of the schema.
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True)

    runtime: Literal["auto", "tensorflow", "onnx", "litert"] = "auto"
    """"auto": the fastest here whose parity holds."""

    precision: Precision | None = None
    """Only graphs of this precision; None takes any usable one."""

    devices: tuple[str, ...] = Field(default=("cpu",), min_length=1)
    """Where the model runs: "cpu", "gpu:0", ...; on several of them, each batch goes to one that is idle."""

    instances: int | None = Field(default=None, ge=1, le=256)
    """Number of batches that run at the same time on each device. Where neither this nor `threads` is given, several
    numbers of both are measured when the model is loaded for the first time, and the best are remembered."""

    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads of one instance; None: the cores divided among the instances, or measured with them."""

    interop_threads: int | None = Field(default=None, ge=1, le=1024)
    """Operations of one batch that may run at the same time; None: one (onnx), or as many as cores (tensorflow)."""

    gpu_memory_mib: int | None = Field(default=None, ge=1)
    """The most memory taken of each GPU; None: all of it. With tensorflow the value of the first model holds
    for all."""

    gpu_memory_growth: bool = True
    """GPU memory is taken when it is needed, rather than all of it at the start."""

    gpu_tf32: bool = False
    """TensorFloat-32, faster on GPUs since Ampere: factors keep 10 of their 23 bits, and answers differ from those of
    the CPU, the export and the phone. With tensorflow it holds only where all models set it."""

    batching: bool = True
    """False runs every request alone."""

    max_batch_size: int | None = Field(default=None, ge=1, le=65536)
    """Largest batch; None measures it while loading: the smallest size that is nearly as fast per image as the best."""

    batch_delay_ms: float = Field(default=0.0, ge=0, le=60_000)
    """How long a batch that is not full may wait for more requests while an instance is idle."""

    allowed_batch_sizes: tuple[int, ...] = ()
    """Ascending sizes that batches are padded to; the last is max_batch_size. Empty: no padding."""

    max_queue_requests: int = Field(default=256, ge=1)
    """Requests that may wait for an instance; more are refused at once."""

    max_queue_bytes: int = Field(default=512 << 20, ge=1)
    """Bytes of tensors that may wait for an instance."""

    queue_timeout_ms: float | None = Field(default=None, gt=0, le=86_400_000)
    """How long a request may wait for an instance, whatever its deadline; None: as long as its deadline allows."""

    priority_levels: int = Field(default=0, ge=0, le=100)
    """Requests may give `x-priority: 1` (first) to this number (last) in their metadata or headers, and go before
    those of a larger number; 0: all are equal and the header is not read."""

    default_priority: int | None = Field(default=None, ge=1, le=100)
    """Priority of requests that give none; None: the middle one."""

    max_request_rows: int = Field(default=1024, ge=1)
    """Largest number of images or rows in one request; a request larger than a batch is split."""

    warmup: int = Field(default=1, ge=0, le=1000)
    """Number of times that the requests recorded beside a SavedModel are run before it is available."""

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
                raise InvalidInput(f"{device} is listed twice; write instances: 2 to run two batches on it")
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
        """Returns how batches are formed, with the largest batch decided."""
        return BatchLimits(max_rows, self.batch_delay_ms / 1000, self.allowed_batch_sizes, self.batching)

    @property
    def largest_batch(self) -> int | None:
        """The largest batch, where the settings give it."""
        return self.max_batch_size or (self.allowed_batch_sizes or (None,))[-1]

    @property
    def resources(self) -> Resources:
        """The limits and options of a graph, beside its threads."""
        return Resources(self.interop_threads, self.gpu_memory_mib, self.gpu_memory_growth, self.gpu_tf32)

    @property
    def bounds(self) -> QueueBounds:
        """The limits of the queue: how much may wait, how long, and in what order."""
        levels = self.priority_levels
        return QueueBounds(
            self.max_queue_requests,
            self.max_queue_bytes,
            math.inf if self.queue_timeout_ms is None else self.queue_timeout_ms / 1000,
            levels,
            self.default_priority or (levels + 1) // 2,
        )


class EngineSettings(ModelSettings):
    """Holds the settings that all models of a server share, and those of each model."""

    decode_workers: int | None = Field(default=None, ge=1, le=1024)
    """Threads that decode and resize images; None: one per core."""

    graph_nice: int = Field(default=0, ge=0, le=19)
    """Has no effect any more. Settings files of earlier versions may have it."""

    max_decode_waiting: int = Field(default=256, ge=0)
    """Images that may wait to be decoded; more are refused at once."""

    max_decode_bytes: int = Field(default=512 << 20, ge=1)
    """Bytes of encoded images that may wait to be decoded."""

    load_retry_seconds: float = Field(default=60.0, ge=0)
    """Seconds until a version that could not be loaded is tried again. If a file of it changes, it is tried at once."""

    max_load_retries: int = Field(default=5, ge=0)
    """Number of times that a version is tried again while its files do not change."""

    model_roots: tuple[Path, ...] = ()
    """Directories that a request for a new list of models may name, beside the repository (or, without one, beside the
    directories of the models that the server was started with)."""

    allow_version_labels_for_unavailable_models: bool = False
    """Whether a reload may give a new label to a version that is not loaded."""

    models: dict[str, ModelSettings] = {}
    """Settings of single models, by name."""

    def of_model(self, name: str) -> ModelSettings:
        """Returns the settings of one model: its own where it has some, the common ones otherwise."""
        own = self.models.get(name)
        values = {key: getattr(self, key) for key in ModelSettings.model_fields}
        if own is not None:
            values |= {key: getattr(own, key) for key in own.model_fields_set}
        return parse(ModelSettings, values, f"the settings of model {name!r}")


@dataclass(frozen=True)
class ModelConfig:
    """Describes a model to serve, as a settings file, a repository or a reload request gives it.

    Attributes:
        name: the name that requests use.
        base_path: the directory of its versions.
        policy: which versions are served.
        labels: names for versions, which requests may use instead of numbers.
        settings: how it runs.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = field(default_factory=Latest)
    labels: Mapping[str, int] = field(default_factory=dict)
    settings: ModelSettings = field(default_factory=ModelSettings)


def check_configs(configs: Sequence[ModelConfig]) -> None:
    """Checks that a list of models is valid in itself.

    Raises:
        InvalidInput: no name, a name twice, a relative path; in TensorFlow Serving's words.
    """
    names: set[str] = set()
    for config in configs:
        if not config.name:
            raise InvalidInput("a model in the list has no name")
        if config.name in names:
            raise InvalidInput(f"Illegal to list model {config.name} multiple times in config list")
        names.add(config.name)
        if not config.base_path.is_absolute():
            raise InvalidInput(
                f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}"
            )
