"""A server with a model on a GPU, and on a GPU and the CPU at the same time. Skipped where there is no GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from convolutions import SIZE, write_convolutions
from nvidia import need_gpu, used_mib
from tiny_artifact import publish_tiny

from cvserve.pipeline import Pipeline
from cvserve.runtimes import open_graph
from cvserve.serving.core import loading
from cvserve.serving.core.settings import ModelSettings


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    need_gpu()
    pytest.importorskip("onnx")
    return publish_tiny(tmp_path / "m", write=write_convolutions).directory


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


@pytest.mark.parametrize("devices", [("gpu:0",), ("gpu:0", "cpu")])
def test_a_model_is_loaded_onto_its_devices(directory: Path, devices: tuple[str, ...]) -> None:
    model = loading.load(directory, ModelSettings(devices=devices, instances=2))
    try:
        assert f"on {', '.join(devices)}" in model.describe()
        assert len(model.graphs) == 2 * len(devices)
        expected = open_graph(directory / "model.onnx", "onnx").run({"images": noise(9)})["probabilities"]
        for graph in model.graphs:
            answer = graph({"images": noise(9)}, None)["probabilities"]
            np.testing.assert_allclose(answer, expected, atol=2e-5)
    finally:
        model.close()


def test_the_plan_is_measured_on_a_gpu_and_remembered(directory: Path) -> None:
    first = loading.load(directory, ModelSettings(devices=("gpu:0",)))
    first.close()
    again = loading.load(directory, ModelSettings(devices=("gpu:0",)))
    again.close()
    assert again.describe() == first.describe()


def test_unloaded_versions_leave_no_memory_allocated(directory: Path) -> None:
    settings = ModelSettings(devices=("gpu:0",), instances=2, max_batch_size=8)
    loading.load(directory, settings).close()
    before = used_mib()
    for _ in range(20):
        model = loading.load(directory, settings)
        model.graphs[0]({"images": noise(8)}, None)
        model.close()
    assert used_mib() <= before + 20


def test_the_pipeline_and_the_batch_command_take_a_device(directory: Path) -> None:
    from cvserve.batch import open_instances

    pixels = noise(4)
    with Pipeline.load(directory) as on_cpu, Pipeline.load(directory, device="gpu:0") as on_gpu:
        answers = [pipeline.runtime.run({"images": pixels})["probabilities"] for pipeline in (on_cpu, on_gpu)]
    np.testing.assert_allclose(answers[1], answers[0], atol=2e-5)
    with open_instances(directory, device="gpu:0", instances=2) as pipelines:
        assert len(pipelines) == 2
        np.testing.assert_allclose(pipelines[0].runtime.run({"images": pixels})["probabilities"], answers[0], atol=2e-5)
