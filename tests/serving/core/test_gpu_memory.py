"""Loading onto a GPU whose memory is small, with sessions that take theirs from one card and hold it until they go."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_kit import PuppetRuntime
from tiny_artifact import publish_tiny

from cvserve.artifact import Artifact
from cvserve.errors import FailedPrecondition, OutOfMemory
from cvserve.runtimes import cuda
from cvserve.serving.core import loading
from cvserve.serving.core.replicas import Placement
from cvserve.serving.core.settings import ModelSettings

GPU = ("gpu:0",)


@pytest.fixture(autouse=True)
def cache(quick_measuring: Path) -> Path:
    return quick_measuring


class Card:
    """memory: the free memory. opening: seconds that a session takes to open."""

    def __init__(self, memory: float, opening: float = 0.0) -> None:
        self.memory, self.opening = memory, opening
        self.sessions = 0
        self._lock = threading.RLock()

    def take(self, owner: object, amount: float) -> None:
        with self._lock:
            if amount > self.memory:
                raise RuntimeError("CUDA failure 2: out of memory")
            self.memory -= amount
        weakref.finalize(owner, self._give_back, amount)

    def _give_back(self, amount: float) -> None:
        with self._lock:
            self.memory += amount


class Session:
    """Takes a tenth for its weights, and a twentieth for each row of its shape."""

    def __init__(self, card: Card) -> None:
        time.sleep(card.opening)
        card.sessions += 1
        self._card, self._rows = card, 0
        card.take(self, 0.1)

    def get_inputs(self) -> list[Any]:
        return []

    def get_outputs(self) -> list[Any]:
        return []

    def run(self, names: Sequence[str], feed: Mapping[str, np.ndarray]) -> None:
        rows = len(feed["images"])
        if rows > self._rows:
            self._card.take(self, 0.05 * (rows - self._rows))
            self._rows = rows
        time.sleep(0.001 + 0.0001 * rows)


class OnTheCard(PuppetRuntime):
    """A small stand-in for `OnnxRuntime`."""

    name = "onnx"

    def __init__(self, card: Card, kept: int) -> None:
        super().__init__()
        self._sessions: cuda.SessionPerShape | None = cuda.SessionPerShape(lambda: Session(card), kept)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        assert self._sessions is not None
        try:
            self._sessions.run([], inputs)
        except RuntimeError as error:
            raise OutOfMemory(str(error)) from None
        return super().run(inputs, outputs)

    def close(self) -> None:
        super().close()
        self._sessions = None


def opening(card: Card) -> Any:
    def open_one(artifact: Artifact, settings: ModelSettings, placement: Placement) -> OnTheCard:
        try:
            return OnTheCard(card, 1 if settings.gpu_memory_mib is not None else cuda.MAX_SESSIONS)
        except RuntimeError as error:
            raise OutOfMemory(str(error)) from None

    return open_one


def settings(**more: Any) -> ModelSettings:
    return ModelSettings(runtime="onnx", devices=GPU, **more)


@pytest.mark.parametrize("memory", [0.6, 1.0, 2.0, 4.0])
def test_a_model_is_served_with_the_batches_that_have_room(tmp_path: Path, memory: float) -> None:
    card = Card(memory)
    model = loading.load(publish_tiny(tmp_path / "m").directory, settings(), opening(card))
    assert 1 <= model.limits.max_rows <= 32
    assert (model.limits.max_rows == 32) == (memory == 4.0)
    model.close()
    assert card.memory == pytest.approx(memory)


def test_a_card_without_room_for_one_image(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory):
        loading.load(publish_tiny(tmp_path / "m").directory, settings(), opening(Card(0.12)))


def test_what_was_measured_with_more_memory_is_measured_again(tmp_path: Path) -> None:
    directory = publish_tiny(tmp_path / "m").directory
    loading.load(directory, settings(), opening(Card(10))).close()
    small = Card(1.0)
    model = loading.load(directory, settings(), opening(small))
    assert model.limits.max_rows < 32
    model.close()
    # That is known now, and nothing is measured again.
    sessions = small.sessions
    loading.load(directory, settings(), opening(small)).close()
    assert small.sessions - sessions <= len(model.limits.allowed_rows)


@pytest.mark.parametrize("more", [{"gpu_memory_mib": 512}, {"gpu_memory_growth": False}, {"gpu_tf32": True}])
def test_another_memory_limit_is_measured_again(tmp_path: Path, more: dict[str, Any]) -> None:
    directory = publish_tiny(tmp_path / "m").directory
    loading.load(directory, settings(), opening(Card(10))).close()
    card = Card(10)
    loading.load(directory, settings(**more), opening(card)).close()
    assert card.sessions > 4, "it was measured"


def test_with_limited_memory_the_opening_of_sessions_is_not_measured(tmp_path: Path) -> None:
    card = Card(10, opening=0.05)
    model = loading.load(publish_tiny(tmp_path / "m").directory, settings(gpu_memory_mib=512), opening(card))
    assert model.limits.max_rows > 1, "a row costs 1.1 ms alone and 0.13 ms among 32"
    assert model.limits.allowed_rows == (model.limits.max_rows,)
    # Each of 6 sizes for two plans, their races, and the one that is served.
    assert card.sessions <= 20
    model.close()


@pytest.mark.parametrize(
    ("more", "sizes"), [({"gpu_memory_mib": 512}, (1, 8)), ({}, (1, 2, 3, 4, 5, 6, 7, 8, 9))], ids=["limited", "many"]
)
def test_more_sizes_than_sessions_are_refused(tmp_path: Path, more: dict[str, Any], sizes: tuple[int, ...]) -> None:
    wanted = settings(instances=1, max_batch_size=sizes[-1], allowed_batch_sizes=sizes, **more)
    directory = publish_tiny(tmp_path / "m").directory
    with pytest.raises(FailedPrecondition, match=f"{len(sizes)} are more than the"):
        loading.load(directory, wanted, opening(Card(10)))
