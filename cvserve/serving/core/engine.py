"""The interface of the core to the protocols: requests and answers in plain values."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.artifact import Manifest
from cvserve.errors import InvalidInput, Unavailable
from cvserve.postproc import DEFAULT_OPTIONS, Options, Result
from cvserve.runtimes.device import usable_cores
from cvserve.serving.core.decode_pool import DecodePool
from cvserve.serving.core.loading import LoadModel, VersionLoader, load
from cvserve.serving.core.loop_callbacks import LoopCallbacks
from cvserve.serving.core.manager import Handle, Manager, VersionStatus
from cvserve.serving.core.observer import Observer
from cvserve.serving.core.reconciler import Reconciler
from cvserve.serving.core.repository import Repository
from cvserve.serving.core.servable import Servable
from cvserve.serving.core.settings import EngineSettings, ModelSettings
from cvserve.serving.core.signatures import Signature


@dataclass(frozen=True)
class ModelRef:
    """Names a model. version: None for the newest available one. label: names a version instead of its number."""

    name: str
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class PredictRequest:
    """Holds tensors for one signature of a model.

    Attributes:
        model: which one.
        signature: its name; empty for the default one.
        inputs: by name.
        output_filter: names of the outputs that are wanted, empty for all.
        deadline: in the loop's time.
    """

    model: ModelRef
    signature: str
    inputs: Mapping[str, np.ndarray]
    output_filter: Sequence[str] = ()
    deadline: float = math.inf


@dataclass(frozen=True)
class PredictAnswer:
    """Holds the outputs by name, and the model, version and signature that computed them."""

    model: ModelRef
    signature: str
    outputs: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ImageAnswer:
    """Holds the answer to an image (a Result, or what `encode` returned), and the model and version that answered."""

    model: ModelRef
    result: Any


@dataclass(frozen=True)
class ModelInfo:
    """Describes a version, and lists the available versions of its model."""

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
    """Serves the models of one server. Used from the loop's thread only."""

    def __init__(
        self,
        settings: EngineSettings,
        *,
        load_model: LoadModel = load,
        on_change: Callable[[VersionStatus], None] = lambda status: None,
        observer: Observer | None = None,
        repository: Repository | None = None,
        roots: Sequence[Path] | None = None,
        on_import: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            settings: the settings of the models and the threads.
            load_model: opens a version's directory; replaced in tests.
            on_change: is called at every change of a version's state.
            observer: is notified of what happens to requests and versions.
            repository, roots: see `Reconciler`.
            on_import: is called when a model has imported a library, before the library is used.
        """
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self.observer = observer or Observer()
        self._on_change = on_change
        callbacks = LoopCallbacks(self._loop)
        self._decode = DecodePool(
            settings.decode_workers or usable_cores(),
            settings.max_decode_waiting,
            settings.max_decode_bytes,
            callbacks,
        )
        loader = VersionLoader(load_model, settings, self._decode, callbacks, self.observer, on_import)
        self.manager = Manager(loader, self._changed)
        self.reconciler = Reconciler(self.manager, settings, repository=repository, roots=roots)
        self._draining = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._accept = _Accepted(self._enter, self._leave)

    @property
    def draining(self) -> bool:
        """Is true when new requests are refused because the server is shutting down."""
        return self._draining

    @property
    def in_flight(self) -> int:
        """The number of requests that were accepted and are not answered yet."""
        return self._in_flight

    async def predict(self, request: PredictRequest) -> PredictAnswer:
        """Runs a signature on tensors. See `Servable.predict` for the errors."""
        with self._accepted(), self._acquire(request.model) as servable:
            signature = servable.signature(request.signature)
            outputs = await servable.predict(
                signature, request.inputs, request.output_filter, deadline=request.deadline
            )
            return PredictAnswer(ModelRef(servable.name, servable.version), signature.name, outputs)

    async def answer(
        self,
        model: ModelRef,
        image: bytes,
        options: Options = DEFAULT_OPTIONS,
        *,
        check: Callable[[Manifest], None] | None = None,
        deadline: float = math.inf,
        encode: Callable[[Result], Any] | None = None,
    ) -> ImageAnswer:
        """Runs a model on one encoded image. See `Servable.answer` for the arguments and errors."""
        with self._accepted(), self._acquire(model) as servable:
            result = await servable.answer(image, options, check=check, deadline=deadline, encode=encode)
            return ImageAnswer(ModelRef(servable.name, servable.version), result)

    @contextmanager
    def accept(self, model: ModelRef) -> Iterator[Servable]:
        """Yields the version that answers a request. The request counts as in flight until the block ends.

        Raises:
            InvalidInput: no name, or an unknown label. NotFound, Unavailable
        """
        with self._accepted(), self._acquire(model) as servable:
            yield servable

    def model_info(self, model: ModelRef) -> ModelInfo:
        """Returns the description of a model.

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

    def version_of(self, model: ModelRef) -> int | None:
        """Returns the number of the version that a request names by number or label; None: the newest available.

        Raises:
            InvalidInput: an unknown label.
        """
        return model.version if model.label is None else self.reconciler.version_of(model.name, model.label)

    def settings_of(self, name: str) -> ModelSettings:
        """Returns the settings of the model of that name."""
        return self._settings.of_model(name)

    async def drain(self) -> None:
        """Refuses new requests from now on and returns when the accepted ones are answered."""
        self._draining = True
        self.reconciler.refuse()
        while self._in_flight:
            self._idle.clear()
            await self._idle.wait()

    async def close(self) -> None:
        """Unloads every model and ends the threads. Called after `drain`."""
        await self.reconciler.close()
        for status in self.manager.all_status():
            if status.version in self.manager.available(status.name):
                await self.manager.unload(status.name, status.version)
        await self._loop.run_in_executor(None, self._decode.close)

    def _acquire(self, model: ModelRef) -> Handle:
        if not model.name:
            raise InvalidInput("ModelSpec has no name specified.")
        return self.manager.acquire(model.name, self.version_of(model))

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

    def _changed(self, status: VersionStatus) -> None:
        self.observer.state(status.name, status.version, status.state.name)
        self._on_change(status)
