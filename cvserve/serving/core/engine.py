"""What every protocol asks of the server, in plain values."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvserve.errors import InvalidInput, Unavailable
from cvserve.postproc.results import ClassificationResult
from cvserve.runtimes.device import usable_cores
from cvserve.serving.core.config import ModelSettings, ServerSettings
from cvserve.serving.core.decode_pool import DecodePool
from cvserve.serving.core.loading import load
from cvserve.serving.core.mailbox import Mailbox
from cvserve.serving.core.manager import Handle, Manager, VersionStatus
from cvserve.serving.core.repository import ModelVersion
from cvserve.serving.core.scheduling import step_forward
from cvserve.serving.core.servable import LoadedModel, Servable
from cvserve.serving.core.signatures import Signature

LoadModel = Callable[[Path, ModelSettings], LoadedModel]


@dataclass(frozen=True)
class ModelRef:
    """Which model is asked. version: None is the newest available."""

    name: str
    version: int | None = None


@dataclass(frozen=True)
class PredictRequest:
    """inputs: by name. output_filter: names wanted, empty for all. deadline: in the loop's time."""

    model: ModelRef
    signature: str
    inputs: Mapping[str, np.ndarray]
    output_filter: Sequence[str] = ()
    deadline: float = math.inf


@dataclass(frozen=True)
class PredictAnswer:
    """The outputs, and which model, version and signature gave them."""

    model: ModelRef
    signature: str
    outputs: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ClassifyAnswer:
    """The classes, and which model and version gave them."""

    model: ModelRef
    result: ClassificationResult


@dataclass(frozen=True)
class ModelInfo:
    """What a client may want to know of a model."""

    model: ModelRef
    servable: Servable
    signatures: Mapping[str, Signature]
    versions: tuple[int, ...]


class _Accepted:
    """Counts a request while it is in the engine."""

    def __init__(self, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self._enter, self._leave = enter, leave

    def __enter__(self) -> None:
        self._enter()

    def __exit__(self, *_: object) -> None:
        self._leave()


class Engine:
    """The models and the pool that decodes for them. Used from the loop's thread only."""

    def __init__(
        self,
        settings: ServerSettings,
        *,
        load_model: LoadModel = load,
        on_change: Callable[[VersionStatus], None] = lambda status: None,
    ) -> None:
        """
        Args:
            load_model: opens a version directory; replaced in tests.
            on_change: told of every change of a version's state.
        """
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._load_model = load_model
        self._mailbox = Mailbox(self._loop)
        self._decode = DecodePool(
            settings.decode_workers or usable_cores(),
            settings.max_decode_waiting,
            settings.max_decode_bytes,
            self._mailbox,
        )
        self.manager = Manager(self._load, on_change)
        self._draining = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._accept = _Accepted(self._enter, self._leave)

    @property
    def in_flight(self) -> int:
        """Requests that were accepted and are not answered yet."""
        return self._in_flight

    async def predict(self, request: PredictRequest) -> PredictAnswer:
        """Tensors in, tensors out. See `Servable.predict` for the errors."""
        with self._accepted(), self._acquire(request.model) as servable:
            signature = servable.signature(request.signature)
            outputs = await servable.predict(
                signature, request.inputs, request.output_filter, deadline=request.deadline
            )
            return PredictAnswer(ModelRef(servable.name, servable.version), signature.name, outputs)

    async def classify(
        self, model: ModelRef, image: bytes, top_k: int | None = None, *, deadline: float = math.inf
    ) -> ClassifyAnswer:
        """One encoded picture to its best classes. See `Servable.classify` for the errors."""
        with self._accepted(), self._acquire(model) as servable:
            result = await servable.classify(image, top_k, deadline=deadline)
            return ClassifyAnswer(ModelRef(servable.name, servable.version), result)

    def model_info(self, model: ModelRef) -> ModelInfo:
        """What the model is.

        Raises:
            InvalidInput: no name. NotFound, Unavailable
        """
        with self._acquire(model) as servable:
            return ModelInfo(
                ModelRef(servable.name, servable.version),
                servable,
                servable.signatures,
                tuple(self.manager.available(model.name)),
            )

    async def drain(self) -> None:
        """Refuses new requests from now on and returns when the accepted ones are answered."""
        self._draining = True
        while self._in_flight:
            self._idle.clear()
            await self._idle.wait()

    async def close(self) -> None:
        """Unloads every model and ends the threads. After `drain`."""
        for status in self.manager.all_status():
            if status.version in self.manager.available(status.name):
                await self.manager.unload(status.name, status.version)
        await self._loop.run_in_executor(None, self._decode.close)

    def _acquire(self, model: ModelRef) -> Handle:
        if not model.name:
            raise InvalidInput("ModelSpec has no name specified.")
        return self.manager.acquire(model.name, model.version)

    def _accepted(self) -> _Accepted:
        if self._draining:
            raise Unavailable("the server is shutting down")
        return self._accept

    def _enter(self) -> None:
        self._in_flight += 1

    def _leave(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()

    def _load_in_thread(self, directory: Path, settings: ModelSettings) -> LoadedModel:
        # What a runtime starts here are the threads of its graphs.
        step_forward()
        return self._load_model(directory, settings)

    async def _load(self, source: ModelVersion) -> Servable:
        settings = self._settings.of_model(source.name)
        model = await self._loop.run_in_executor(None, self._load_in_thread, source.directory, settings)
        return Servable(source.name, source.version, model, self._decode, self._mailbox)
