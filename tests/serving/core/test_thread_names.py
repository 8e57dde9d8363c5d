"""The names of the server's threads in the system."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_kit import PuppetRuntime, jpeg, loader, repository

from cvserve.client import AsyncClient
from cvserve.serving import Server, ServerSettings
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.settings import ModelSettings
from cvserve.serving.core.thread_names import name_thread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such names here")


def names() -> list[str]:
    found = []
    for path in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):  # it has ended
            found.append(path.read_text(errors="replace").strip())
    return found


def here() -> str:
    return Path("/proc/thread-self/comm").read_text().strip()


async def test_the_names_of_the_servers_threads(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_serving")
    seen: dict[str, str] = {}

    class Graph(PuppetRuntime):
        def run(self, inputs: Any, outputs: Any = None) -> dict[str, np.ndarray]:
            seen["run"] = here()
            return super().run(inputs, outputs)

    opened = loader(Graph())

    def load(directory: Path, settings: ModelSettings) -> LoadedModel:
        seen["load"] = here()
        return opened(directory, settings)

    first = Path(f"/proc/self/task/{threading.main_thread().native_id}/comm").read_text()
    values = ServerSettings(host="127.0.0.1", port=0)
    async with Server(repository(tmp_path), values, load_model=load) as server, AsyncClient(server.address) as client:
        await client.classify("colours", jpeg())
        assert "decode-0" in names()
    assert seen == {"load": "run colours", "run": "run colours-1-0"}
    assert Path(f"/proc/self/task/{threading.main_thread().native_id}/comm").read_text() == first, "the process's own"


@pytest.mark.parametrize("name", ["flowers-of-the-whole-world", "Blumenbeete-für-alle", "花の世界の花", "a\nb", ""])
def test_any_model_name_can_be_a_thread_name(name: str) -> None:
    called: list[str] = []

    def work() -> None:
        name_thread(f"run {name}")
        called.append(Path("/proc/thread-self/comm").read_text(encoding="utf-8", errors="strict"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    kept = called[0].removesuffix("\n")
    assert f"run {name}".startswith(kept)
    assert len(kept.encode()) >= min(len(f"run {name}".encode()), 13)
