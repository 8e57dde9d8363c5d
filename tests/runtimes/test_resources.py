"""Operations at the same time and GPU memory, as they are passed to the libraries."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toy_graph import expected, photos

from cvserve.errors import InvalidInput
from cvserve.runtimes import open_graph
from cvserve.runtimes.device import Resources
from cvserve.runtimes.tensorflow_gpus import set_gpus


class Config:
    """Stands for tf.config on a machine with two GPUs, before or after TensorFlow has started."""

    LogicalDeviceConfiguration = SimpleNamespace

    def __init__(self, running: bool = False) -> None:
        self.running = running
        self.growth: dict[str, bool] = {}
        self.limits: dict[str, list[Any]] = {}
        self.experimental = SimpleNamespace(
            get_memory_growth=lambda gpu: self.growth.get(gpu.name, False),
            set_memory_growth=self._set_growth,
            enable_tensor_float_32_execution=self._set_tf32,
        )
        self.tf32 = True  # TensorFlow's default

    def list_physical_devices(self, kind: str) -> list[Any]:
        assert kind == "GPU"
        return [SimpleNamespace(name=f"gpu:{index}") for index in range(2)]

    def get_logical_device_configuration(self, gpu: Any) -> list[Any] | None:
        return self.limits.get(gpu.name)

    def set_logical_device_configuration(self, gpu: Any, configurations: list[Any]) -> None:
        self._check()
        self.limits[gpu.name] = configurations

    def _set_growth(self, gpu: Any, growth: bool) -> None:
        self._check()
        self.growth[gpu.name] = growth

    def _set_tf32(self, enabled: bool) -> None:
        self.tf32 = enabled

    def _check(self) -> None:
        if self.running:
            raise RuntimeError("Physical devices cannot be modified after being initialized")


def tensorflow(config: Config) -> Any:
    return SimpleNamespace(config=config)


def test_by_default_memory_grows_on_every_gpu() -> None:
    config = Config()
    set_gpus(tensorflow(config), Resources())
    assert config.growth == {"gpu:0": True, "gpu:1": True}
    assert not config.limits


def test_one_model_without_tf32_turns_it_off_for_all() -> None:
    config = Config()
    set_gpus(tensorflow(config), Resources(gpu_tf32=True))
    assert config.tf32
    set_gpus(tensorflow(config), Resources())
    assert not config.tf32
    set_gpus(tensorflow(config), Resources(gpu_tf32=True))
    assert not config.tf32


def test_a_limit_comes_before_growth_and_stays() -> None:
    config = Config()
    set_gpus(tensorflow(config), Resources(gpu_memory_mib=4096))
    set_gpus(tensorflow(config), Resources())
    assert [limit[0].memory_limit for limit in config.limits.values()] == [4096, 4096]
    assert not config.growth


def test_all_memory_is_taken_at_the_start_if_set() -> None:
    config = Config()
    set_gpus(tensorflow(config), Resources(gpu_memory_growth=False))
    assert not config.growth, "that is what TensorFlow does by itself"


def test_late_settings_are_logged_and_are_not_an_error(caplog: pytest.LogCaptureFixture) -> None:
    config = Config(running=True)
    set_gpus(tensorflow(config), Resources(gpu_memory_mib=4096))
    assert "TensorFlow is already running in this process, so what it takes of gpu:0 stays as it is" in caplog.text
    caplog.clear()
    config.growth = {"gpu:0": True, "gpu:1": True}
    set_gpus(tensorflow(config), Resources())
    assert not caplog.text, "it is set already"


def test_operations_at_the_same_time_change_no_answer(onnx_file: Path) -> None:
    images = photos(3)
    runtime = open_graph(onnx_file, "onnx", threads=1, resources=Resources(interop_threads=2))
    np.testing.assert_allclose(runtime.run({"images": images})["sums"], expected(images)["sums"], atol=1e-3)


@pytest.mark.parametrize("values", [{"interop_threads": 0}, {"gpu_memory_mib": 0}])
def test_zero_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="must be at least 1"):
        Resources(**values)
