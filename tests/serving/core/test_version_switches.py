"""Versions change under load: a small run of benchmarks/version_switches.py, over real sockets."""

from __future__ import annotations

import gc
import importlib.util
import sys
import weakref
from pathlib import Path
from types import ModuleType

import pytest

from cvserve.serving import Server, ServerSettings
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.loading import load
from cvserve.serving.core.settings import ModelSettings

pytest.importorskip("tensorflow_serving")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "version_switches.py"
    spec = importlib.util.spec_from_file_location("version_switches", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


async def test_no_request_fails_at_a_switch_and_no_version_stays_loaded(benchmark: ModuleType, tmp_path: Path) -> None:
    directory = tmp_path / "models" / "switched"
    benchmark.publish_numbered(directory)
    lives = benchmark.Lives()
    loaded: list[weakref.ref[LoadedModel]] = []

    def remembered(version: Path, settings: ModelSettings) -> LoadedModel:
        model = load(version, settings)
        loaded.append(weakref.ref(model))
        return model

    settings = ServerSettings(host="127.0.0.1", port=0, poll_seconds=0.01, max_batch_size=4, instances=1)
    async with Server(directory.parent, settings, load_model=remembered, observer=lives) as server:
        result = await benchmark.switch_under_load(
            server.address,
            "switched",
            lambda: benchmark.publish_numbered(directory),
            lives,
            requests=800,
            switches=8,
        )
        assert result.answers.failures == []
        assert result.answers.wrong(lives, numbered=True) == []
        assert len(result.answers.asked) >= 800
        assert {version for _, _, version, _ in result.answers.asked} == set(range(1, 10))
        assert server.engine.manager.available("switched") == [9]
        assert len(loaded) == 9
        gc.collect()
        assert [model() is None for model in loaded] == [True] * 8 + [False]


def test_the_check_finds_errors(benchmark: ModuleType) -> None:
    lives = benchmark.Lives()
    lives.note(1, "AVAILABLE", 10.0)
    lives.note(1, "UNLOADING", 20.0)
    assert lives.was_live(1, 5.0, 11.0)
    assert lives.was_live(1, 19.0, 30.0)
    assert not lives.was_live(1, 5.0, 9.0)
    assert not lives.was_live(1, 21.0, 22.0)
    assert not lives.was_live(2, 11.0, 12.0)
    answers = benchmark.Answers(asked=[(11.0, 12.0, 1, 1), (11.0, 12.0, 1, 2), (21.0, 22.0, 1, 1)])
    assert len(answers.wrong(lives, numbered=True)) == 2
    assert len(answers.wrong(lives, numbered=False)) == 1
