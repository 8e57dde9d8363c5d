"""Artifacts, run directories, settings and import specs of an older commit are read and mean what they meant.

README.md says which commit made them and what is in each.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cvserve
from cvserve.cli.main import main
from cvserve.preproc import preprocess
from cvserve.runs import load_run
from cvserve.serving import load_settings

HERE = Path(__file__).parent
IMAGES = [HERE / "images" / name for name in ("0.png", "1.png")]
ANSWERS = json.loads((HERE / "artifacts.json").read_text())
SETTINGS = json.loads((HERE / "settings.json").read_text())
TASKS = ("classification", "detection", "segmentation", "captioning")


@pytest.mark.parametrize("name", ANSWERS)
def test_an_artifact_answers_as_it_did(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    unpack(HERE / "artifacts" / f"{name}.tar.xz", tmp_path)
    with cvserve.load(tmp_path, runtime="onnx") as pipeline:
        results = pipeline(IMAGES, score_threshold=0.0, max_results=3)
    assert_like([result.to_dict() for result in results], ANSWERS[name])


@pytest.mark.parametrize("name", ANSWERS)
def test_an_artifact_is_described(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unpack(HERE / "artifacts" / f"{name}.tar.xz", tmp_path)
    assert main(["inspect", str(tmp_path)]) == 0
    assert name in capsys.readouterr().out


@pytest.mark.parametrize("task", TASKS)
def test_the_network_of_a_run_answers_as_it_did(task: str, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    unpack(HERE / "runs" / f"{task}.tar.xz", tmp_path)
    run = load_run(tmp_path)
    assert run.task == task
    assert run.metrics
    pixels = np.stack([preprocess(image, run.preproc)[0] for image in IMAGES])
    outputs = run.load_model()(pixels, training=False)
    with np.load(HERE / "runs" / f"{task}.npz") as recorded:
        assert set(outputs) == set(recorded.files)
        for name in recorded.files:
            np.testing.assert_allclose(np.asarray(outputs[name]), recorded[name], rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("task", TASKS)
def test_the_settings_of_a_training_mean_what_they_did(task: str) -> None:
    from cvserve.training import TrainConfig

    file = f"train_{task}.yaml"
    assert_like(TrainConfig.load(HERE / "settings" / file).model_dump(mode="json"), SETTINGS[file])


def test_the_settings_of_a_server_mean_what_they_did() -> None:
    settings = load_settings(HERE / "settings" / "server.yaml")
    assert_like(settings.model_dump(mode="json"), SETTINGS["server.yaml"])


def test_an_import_spec_means_what_it_did() -> None:
    from cvserve.export.import_spec import read_spec

    spec, _ = read_spec(HERE / "settings" / "import.yaml")
    assert_like(spec.model_dump(mode="json"), SETTINGS["import.yaml"])


def unpack(archive: Path, to: Path) -> None:
    with tarfile.open(archive) as opened:
        opened.extractall(to, filter="data")


def assert_like(found: Any, recorded: Any, where: str = "") -> None:
    """Everything recorded is found, floats but for rounding; new keys may have been added."""
    if isinstance(recorded, dict):
        for key, value in recorded.items():
            assert key in found, f"{where}.{key} is missing"
            assert_like(found[key], value, f"{where}.{key}")
    elif isinstance(recorded, list):
        assert len(found) == len(recorded), where
        for index, (each, value) in enumerate(zip(found, recorded, strict=True)):
            assert_like(each, value, f"{where}[{index}]")
    elif isinstance(recorded, float):
        assert found == pytest.approx(recorded, rel=1e-3, abs=1e-3), where
    else:
        assert found == recorded, where
