"""Waiting until there is a version to load."""

from __future__ import annotations

from pathlib import Path

from cvserve.serving.core.settings import ModelConfig
from cvserve.serving.core.version_policy import Specific
from cvserve.serving.protocols.tensorflow_serving.model_server.waiting import wait_for_a_version


def test_it_waits_until_one_model_has_a_wanted_version(tmp_path: Path) -> None:
    first = ModelConfig("first", tmp_path / "first")
    second = ModelConfig("second", tmp_path / "second", Specific((2,)))
    lines: list[str] = []
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        match len(sleeps):
            case 2:
                (tmp_path / "first").mkdir()
            case 3:
                (tmp_path / "second" / "1").mkdir(parents=True)
            case 5:
                (tmp_path / "second" / "00000002").mkdir()

    wait_for_a_version([first, second], 3, lines.append, sleep)
    assert sleeps == [3] * 5
    leaf = ". Did you forget to name your leaf directory as a number (eg. '/1/')?"
    assert lines == [
        f"waiting: Could not find base path {tmp_path / 'first'} for servable first{leaf}",
        f"waiting: Could not find base path {tmp_path / 'second'} for servable second{leaf}",
        f"waiting: No versions of servable first found under base path {tmp_path / 'first'}{leaf}",
        "waiting: servable second has versions [1], but none of those that its policy wants",
    ]


def test_without_models_or_without_polling_it_does_not_wait(tmp_path: Path) -> None:
    def never(seconds: float) -> None:
        raise AssertionError("it waited")

    wait_for_a_version([], 1, print, never)
    wait_for_a_version([ModelConfig("m", tmp_path / "nowhere")], 0, print, never)
