"""A queue on puppet slots, and what tests ask it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from serving_kit import PuppetSlots

from cvserve.errors import InvalidInput
from cvserve.serving.core.batching.policy import BatchLimits, QueueBounds
from cvserve.serving.core.batching.queue import BatchQueue
from cvserve.serving.core.loop_callbacks import LoopCallbacks


def x(*values: float, dtype: str = "float32", width: int = 1) -> dict[str, np.ndarray]:
    """One request of `len(values)` rows."""
    return {"x": np.repeat(np.array(values, dtype)[:, np.newaxis], width, axis=1)}


def ask(queue: BatchQueue, *values: float, **options: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(queue.run(x(*values), **options))


def queue_of(
    slots: PuppetSlots,
    limits: BatchLimits | None = None,
    bounds: QueueBounds | None = None,
    callbacks: LoopCallbacks | None = None,
) -> BatchQueue:
    loop = asyncio.get_running_loop()
    return BatchQueue(
        slots.slots,
        limits or BatchLimits(4),
        bounds or QueueBounds(),
        callbacks or LoopCallbacks(loop),
        name="model 'm'",
        clock=loop.time,
    )


def values(answer: dict[str, np.ndarray]) -> list[float]:
    return answer["y"].reshape(-1).tolist()


def made_by_worker(queue: BatchQueue, value: float, made: list[float], **options: Any) -> asyncio.Task[Any]:
    """A request whose tensors are made on the worker; `made` lists those that were made. -1 cannot be made."""

    def make() -> dict[str, np.ndarray]:
        made.append(value)
        if value == -1:
            raise InvalidInput("not an image")
        return x(value)

    return asyncio.ensure_future(queue.run_made_by_worker(make, x(), size=100, **options))


class Making:
    """Tensors that are made when the test says so."""

    def __init__(self) -> None:
        self.given_up = 0

    def __call__(self, give: Any, fail: Any) -> Any:
        self.give, self.fail = give, fail

        def give_up() -> None:
            self.given_up += 1

        return give_up


def later(queue: BatchQueue, making: Making, **options: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(queue.run_when_made(making, **options))
