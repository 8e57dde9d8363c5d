"""What the server's tests share: a clock that jumps, slots and a graph that the test controls, a server to ask."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from tiny_artifact import LABELS, SIZE, publish_tiny

from cvserve import artifact as artifacts
from cvserve.pipeline import Pipeline
from cvserve.runtimes import TensorInfo
from cvserve.serving import Server
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.settings import ModelSettings

T = TypeVar("T")

Serve = Callable[..., AbstractAsyncContextManager[Server]]
"""The fixture of the same name: `async with serve(runtime, **settings) as server`."""


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while there is work, and jumps to the next timer when there is none."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        # A cancelled timer stays in the heap until its time has come, which on this clock it never would by itself.
        due = [handle.when() for handle in scheduled if not handle.cancelled()]
        if not ready and due:
            self.now = max(self.now, min(due))
        super()._run_once()  # type: ignore[misc]


def on_jumping_clock(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` on a JumpingLoop."""
    loop = JumpingLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


async def turns(count: int = 5) -> None:
    """Lets the loop do what is ready."""
    for _ in range(count):
        await asyncio.sleep(0)


class PuppetSlots:
    """Slots of a batcher whose batches end when the test says so."""

    def __init__(self, slots: int = 1, graph: Callable[..., dict[str, np.ndarray]] | None = None) -> None:
        self.graph = graph or (lambda inputs, outputs: {"y": inputs["x"] * 2})
        self.graph_of: Callable[..., Any] = self._run
        """What jobs are given."""
        self.running: list[tuple[PuppetSlot, Callable[..., Any]]] = []
        self.batches: list[list[float]] = []
        """The values of x in each call of the graph, also of calls that then failed."""
        self.slots = [PuppetSlot(self) for _ in range(slots)]

    def finish(self, index: int = 0) -> None:
        """Ends a running batch, and begins the next one if the queue names one, as a worker would."""
        slot, job = self.running.pop(index)
        following = job(self.graph_of)
        if following is not None:
            slot.begin(following)

    async def finish_all(self) -> None:
        """Ends one batch after the other until none runs."""
        await turns()
        while self.running:
            self.finish()
            await turns()

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        self.batches.append(inputs["x"].reshape(-1).tolist())
        return self.graph(inputs, outputs)


class PuppetSlot:
    """One of them."""

    def __init__(self, owner: PuppetSlots) -> None:
        self.owner = owner

    def begin(self, job: Callable[..., Any]) -> None:
        assert all(slot is not self for slot, _ in self.owner.running), "one batch at a time"
        self.owner.running.append((self, job))


class PuppetRuntime:
    """The graph of `tiny_artifact` in numpy, which records what it is given, waits on `gate` and fails on `poison`.

    poison: an image whose first pixel has this red value makes the whole call fail.
    """

    name = "puppet"

    def __init__(self, size: int = SIZE) -> None:
        self.inputs: Mapping[str, TensorInfo] = {
            "images": TensorInfo("images", "uint8", (None, size, size, 3)),
        }
        self.outputs: Mapping[str, TensorInfo] = {
            "probabilities": TensorInfo("probabilities", "float32", (None, 3)),
            "mean": TensorInfo("mean", "float32", (None, 3)),
        }
        self.calls: list[np.ndarray] = []
        self.started = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.poison: int | None = None
        self.running = 0
        """Calls that have begun and not ended."""
        self.closed = False

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        images = inputs["images"]
        self.calls.append(images.copy())
        self.running += 1
        self.started.release()
        try:
            assert self.gate.wait(30), "the test forgot the gate"
        finally:
            self.running -= 1
        if self.poison is not None and (images[:, 0, 0, 0] == self.poison).any():
            raise RuntimeError("the graph met poison")
        mean = images.reshape(len(images), -1, 3).mean(axis=1, dtype=np.float32)
        scores = np.exp((mean - mean.max(axis=1, keepdims=True)) / 10)
        answers = {"probabilities": scores / scores.sum(axis=1, keepdims=True), "mean": mean}
        return {name: answers[name] for name in outputs or answers}

    def close(self) -> None:
        self.closed = True

    async def wait_for_call(self) -> None:
        """Until one more batch has started."""
        assert await asyncio.to_thread(self.started.acquire, timeout=10), "no batch started"

    @property
    def batch_sizes(self) -> list[int]:
        return [len(images) for images in self.calls]


def loader(runtime: PuppetRuntime, workers: int = 1) -> Callable[[Path, ModelSettings], LoadedModel]:
    """A `load_model` for Server and Engine that puts `runtime` in the place of every graph."""

    def load(directory: Path, settings: ModelSettings) -> LoadedModel:
        pipeline = Pipeline(artifacts.read(directory), runtime)
        return LoadedModel(
            (pipeline,),
            workers,
            1,
            settings.limits(settings.max_batch_size or 8),
            settings.bounds,
            settings.max_request_rows,
        )

    return load


def repository(root: Path, *names: str) -> Path:
    """A repository of tiny models."""
    for name in names or ("colours",):
        publish_tiny(root / name)
    return root


def pixels(color: str, size: int = SIZE, brightness: int = 200) -> np.ndarray:
    """uint8 [size, size, 3] of one colour."""
    image = np.zeros((size, size, 3), np.uint8)
    image[..., LABELS.index(color)] = brightness
    return image


def jpeg(color: str = "red", width: int = 40, height: int = 30) -> bytes:
    """An encoded image of one colour."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 2 - LABELS.index(color)] = 200
    return bytes(cv2.imencode(".jpg", image)[1])


def photo(seed: int, orientation: int | None = None, width: int = 200, height: int = 120) -> bytes:
    """A noisy JPEG, with an EXIF orientation if wished."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    data = cv2.imencode(".jpg", cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))[1].tobytes()
    if orientation is None:
        return bytes(data)
    tiff = (
        b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00" + bytes([orientation, 0, 0, 0]) + b"\0" * 4
    )
    exif = b"Exif\x00\x00" + tiff
    return bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])


async def slept(seconds: float) -> float:
    """Sleeps and returns how long that took: what a timer of this length takes on this machine now. Bounds on answers
    that a timer gives are multiples of it."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.sleep(seconds)
    return loop.time() - started


async def eventually(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 5.0) -> None:
    """Waits until the condition holds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        holds = condition()
        if isinstance(holds, bool) and holds:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came true")
