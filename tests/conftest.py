"""Shared fixtures. Nothing here imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def nothing_is_remembered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is measured in the tests, and in the processes that they start, is remembered for the tests only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVSERVE_CACHE_DIR", str(tmp_path_factory.mktemp("measured")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and models of others that some checkouts have beside them."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the shared images are not beside this checkout")
    return folder
