"""A server with one tiny model, on a free port, with requests over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from serving_kit import PuppetRuntime, Serve, loader, repository

from cvserve.serving import Server, ServerSettings
from cvserve.serving.core import choosing, measuring, replicas
from cvserve.serving.server import PROTOCOLS
from cvserve.serving.transport.protocol import Protocol


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """`async with serve(runtime, **settings) as server`: the model "colours", run by `runtime`, else by onnxruntime."""
    pytest.importorskip("tensorflow_serving")

    @asynccontextmanager
    async def start(
        runtime: PuppetRuntime | None = None,
        workers: int = 1,
        protocols: Sequence[Protocol] = PROTOCOLS,
        **settings: Any,
    ) -> AsyncIterator[Server]:
        root = repository(tmp_path / "models")
        values = ServerSettings(**({"host": "127.0.0.1", "port": 0, "grace_seconds": 5} | settings))
        load_model = None if runtime is None else loader(runtime, workers)
        async with Server(root, values, load_model=load_model, protocols=protocols) as server:
            yield server

    return start


@pytest.fixture
def runtime() -> PuppetRuntime:
    """Returns the graph of the model, which the test controls."""
    return PuppetRuntime()


@pytest.fixture
def quick_measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Measures instance plans in little time, for two cores, and remembers them in this folder."""
    monkeypatch.setenv("CVSERVE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(measuring, "ROUND_SECONDS", 0.02)
    for module in (choosing, replicas):
        monkeypatch.setattr(module, "usable_cores", lambda: 2)
    return tmp_path / "cache"
