"""The tiny colour model and some images, for the commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_artifact import LABELS, publish_tiny, write_image

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """models/ with two versions of `color`."""
    folder = tmp_path_factory.mktemp("repository") / "models"
    publish_tiny(folder / "colour")
    publish_tiny(folder / "colour")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """red.png, green.jpg and blue.png, one of them in a sub-folder."""
    folder = tmp_path_factory.mktemp("photos")
    for name, color in zip(("red.png", "sub/green.jpg", "blue.png"), LABELS, strict=True):
        write_image(folder / name, color)
    return folder


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a command: with its own cache directory."""
    return {**os.environ, "CVSERVE_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture
def cvserve(tmp_path: Path, environment: dict[str, str]) -> Command:
    """Runs `cvserve ...` as a process, in an empty folder."""

    def run(*words: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cvserve.cli", *map(str, words)]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=environment
        )

    return run
