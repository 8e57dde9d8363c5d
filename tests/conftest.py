"""Shared fixtures. Nothing here imports TensorFlow."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures and foreign models that lies beside some checkouts."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the shared pictures are not beside this checkout")
    return folder
