"""The memory of an unloaded SavedModel is freed, although TensorFlow, which was imported for it, stays."""

from __future__ import annotations

import json
import subprocess
import sys

from cvserve.artifact import Artifact

SCRIPT = """
import asyncio, json, shutil, sys, weakref
from pathlib import Path
from cvserve.runtimes.tensorflow import TensorFlowRuntime
from cvserve.serving import Server, ServerSettings
from cvserve.serving.core.manager import State

models = []
real = TensorFlowRuntime.__init__

def opened(self, *arguments, **options):
    real(self, *arguments, **options)
    models.append(weakref.ref(self._model.signatures["serving_default"].graph))

TensorFlowRuntime.__init__ = opened

async def main():
    directory = Path(sys.argv[1])
    settings = ServerSettings(
        host="127.0.0.1", port=0, http_port=-1, runtime="tensorflow", instances=1, threads=1, max_batch_size=1
    )
    assert "tensorflow" not in sys.modules
    async with Server(directory.parent, settings) as server:
        engine = server.engine
        for _ in range(3):
            await engine.reconciler.reload(directory.name)
        while any(status.state is not State.AVAILABLE for status in engine.manager.all_status()):
            await asyncio.sleep(0.05)
        print(json.dumps([model() is not None for model in models]))

asyncio.run(main())
"""


def test_an_unloaded_saved_model_is_not_kept_with_its_library(artifact_of_two: Artifact) -> None:
    directory = artifact_of_two.directory.parent
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(directory)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    *gone, last = json.loads(done.stdout.splitlines()[-1])
    assert last, "the one that is served"
    assert gone == [False] * 3
