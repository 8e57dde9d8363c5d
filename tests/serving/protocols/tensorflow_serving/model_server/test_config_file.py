"""--model_config_file while the server runs: what follows from each reading."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from cvserve.errors import CvserveError, FailedPrecondition, InvalidInput
from cvserve.serving.core.settings import ModelConfig
from cvserve.serving.protocols.tensorflow_serving.model_server.config_file import follow

A = ModelConfig("a", Path("/a"))
B = ModelConfig("b", Path("/b"))


class Looks:
    """Stands for a file whose content changes, and for a server that records the lists it gets."""

    def __init__(self, *contents: Sequence[ModelConfig] | CvserveError, fails: Callable[[int], bool] = lambda _: False):
        self.contents = list(contents)
        self.fails = fails
        self.look = -1
        self.applied: list[list[str]] = []
        self.lines: list[str] = []

    def read(self) -> list[ModelConfig]:
        content = self.contents[self.look]
        if isinstance(content, CvserveError):
            raise content
        return list(content)

    async def apply(self, configs: Sequence[ModelConfig]) -> None:
        if self.fails(self.look):
            raise FailedPrecondition("the label cannot be assigned")
        self.applied.append([each.name for each in configs])

    async def sleep(self, seconds: float) -> None:
        assert seconds == 7
        self.look += 1
        if self.look == len(self.contents):
            raise asyncio.CancelledError

    def run(self) -> None:
        async def main() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await follow(self.read, self.apply, 7, self.lines.append, [A], self.sleep)

        asyncio.run(main())


def test_only_a_change_is_applied() -> None:
    looks = Looks([A], [A, B], [A, B], [B], [])
    looks.run()
    assert looks.applied == [["a", "b"], ["b"], []]
    assert looks.lines == [
        "applied the changed model config: a, b",
        "applied the changed model config: b",
        "applied the changed model config: no models",
    ]


def test_a_file_that_cannot_be_read_is_reported_once_and_keeps_the_models() -> None:
    bad = InvalidInput("Error parsing text-format tensorflow.serving.ModelServerConfig: 1:1")
    looks = Looks(bad, bad, [A], bad, [B])
    looks.run()
    line = f"Failed to read ModelServerConfig file: {bad}"
    assert looks.lines == [line, line, "applied the changed model config: b"]
    assert looks.applied == [["b"]]


def test_a_file_that_cannot_be_applied_is_tried_again_every_time() -> None:
    looks = Looks([B], [B], [B], [B], fails=lambda look: look < 2)
    looks.run()
    assert looks.applied == [["b"]]
    assert looks.lines == [
        "PollFilesystemAndReloadConfig failed to ReloadConfig: the label cannot be assigned",
        "applied the changed model config: b",
    ]


def test_the_old_file_is_applied_again_after_one_that_failed() -> None:
    """Part of the failed one may have been done."""
    looks = Looks([B], [A], [A], fails=lambda look: look == 0)
    looks.run()
    assert looks.applied == [["a"]]
