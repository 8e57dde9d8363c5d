"""Unloading returns memory to the system. The resident memory is measured, with models of 64 MiB."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cvserve.serving.core.engine import Engine, ModelRef, PredictRequest
from cvserve.serving.core.repository import Repository
from cvserve.serving.settings import ServerSettings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

WIDTH = 4096
MIB = WIDTH * WIDTH * 4 / 2**20
"""Of the weights: 64."""


def resident_mib() -> float:
    fields = Path("/proc/self/status").read_text().split()
    return int(fields[fields.index("VmRSS:") + 1]) / 1024


def tensorflow_model(directory: Path) -> None:
    """Writes y = x W as a SavedModel without a manifest."""
    import tensorflow as tf

    class Product(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.weights = tf.Variable(tf.random.stateless_normal((WIDTH, WIDTH), (1, 2)))

        @tf.function(input_signature=[tf.TensorSpec((None, WIDTH), tf.float32, name="x")])
        def __call__(self, x: object) -> dict[str, object]:
            return {"y": tf.matmul(x, self.weights)}

    module = Product()
    tf.saved_model.save(module, str(directory), signatures=module.__call__)


def tflite_model(directory: Path) -> None:
    """Writes the same as a TFLite file."""
    import tensorflow as tf

    weights = np.random.default_rng(0).normal(size=(WIDTH, WIDTH)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, WIDTH), tf.float32, name="x")])
    def product(x: object) -> dict[str, object]:
        return {"y": tf.matmul(x, tf.constant(weights))}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([product.get_concrete_function()])
    directory.mkdir(parents=True)
    (directory / "model.tflite").write_bytes(converter.convert())


async def ask(engine: Engine) -> None:
    """Runs the graph once, since only then all of its file has been read."""
    await engine.predict(PredictRequest(ModelRef("large"), "", {"x": np.ones((1, WIDTH), np.float32)}))


async def settled_mib() -> float:
    """Returns the least resident MiB within a second, since the kernel counts freed pages a little later."""
    least = resident_mib()
    for _ in range(20):
        await asyncio.sleep(0.05)
        least = min(least, resident_mib())
    return least


async def in_turns(build: Callable[[Path], None], root: Path, turns: int) -> list[tuple[float, float]]:
    """MiB resident with the model loaded and after it was unloaded, each turn; the first one brings in libraries."""
    directory = root / "large" / "1"
    directory.parent.mkdir(parents=True)
    build(directory)
    settings = ServerSettings(max_batch_size=1, instances=1, threads=1)
    repository = Repository(root, settings)
    engine = Engine(settings, repository=repository, roots=[root])
    await engine.reconciler.start([])
    seen = []
    for _ in range(turns):
        await engine.reconciler.load("large")
        await ask(engine)
        loaded = resident_mib()
        await engine.reconciler.unload("large")
        seen.append((loaded, await settled_mib()))
    await engine.close()
    return seen


BUILDS = {"tflite": tflite_model, "tensorflow": tensorflow_model}


def in_turns_alone(kind: str, root: Path, turns: int) -> list[tuple[float, float]]:
    """`in_turns` in another process, since other tests change the memory of this one."""
    command = [sys.executable, __file__, kind, str(root), str(turns)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_unloading_gives_the_memory_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    pytest.importorskip("ai_edge_litert")
    (_, before), *others = in_turns_alone("tflite", tmp_path, 3)
    for loaded, unloaded in others:
        assert loaded > before + 0.8 * MIB, "it is not as large as the test thinks"
        assert unloaded < before + 0.25 * MIB


@pytest.mark.slow
def test_memory_that_tensorflow_keeps_is_used_by_the_next_model(tmp_path: Path) -> None:
    """TensorFlow's allocator for oneDNN returns no memory to the system, but uses it again for the next model."""
    pytest.importorskip("tensorflow")
    (_, before), *others = in_turns_alone("tensorflow", tmp_path, 4)
    for _, unloaded in others:
        assert unloaded < before + 0.25 * MIB


if __name__ == "__main__":
    print(json.dumps(asyncio.run(in_turns(BUILDS[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3])))))
