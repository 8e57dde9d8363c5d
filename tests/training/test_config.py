"""The typed configuration: files, overrides, faults in one sentence, and the way back to a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cvserve.errors import InvalidInput, NotFound
from cvserve.training import TASKS, TrainConfig


def test_file_and_overrides(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("data: photos\nepochs: 7\noptimizer: {name: adamw, learning_rate: 0.001}\n")
    config = TrainConfig.load(file, ["optimizer.learning_rate=0.01", "augmentation.flip=0", "image_size=96"])
    assert (config.epochs, config.optimizer.name, config.optimizer.learning_rate) == (7, "adamw", 0.01)
    assert config.image_size == 96
    nested = TrainConfig.load(file, {"optimizer": {"learning_rate": 0.02}, "epochs": 3})
    assert (nested.epochs, nested.optimizer.name, nested.optimizer.learning_rate) == (3, "adamw", 0.02)


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    config = TrainConfig(data="photos", model="resnet20", model_options={"width": 8}, seed=3)
    (tmp_path / "config.yaml").write_text(config.dump())
    assert TrainConfig.load(tmp_path / "config.yaml") == config


def test_captions_are_not_mirrored_unless_asked() -> None:
    config = TrainConfig.load(None, {"task": "captioning", "data": "photos", "augmentation": {"hue": 0.1}})
    assert (config.augmentation.flip, config.augmentation.hue) == (0.0, 0.1)
    assert config.optimizer.clip_norm == 5.0
    assert TrainConfig.load(None, {"task": "captioning", "data": "a", "augmentation": {"flip": 0.5}}).augmentation.flip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epochs: 3", "'data' is missing"),
        ("data: a\nepoch: 3", "unknown key 'epoch'; did you mean 'epochs'"),
        ("data: a\noptimizer: {learningrate: 1}", "did you mean 'learning_rate'"),
        ("data: a\nepochs: 0", "epochs = 0"),
        ("data: a\noptimizer: {name: adam}", "optimizer.name = 'adam'"),
        ("data: a\nmodel_options: {num_classes: 3}", "num_classes is not an option of the model"),
        ("task: captioning\ndata: a\nmodel_options: {length: 3}", "length is not an option of the model"),
        ("task: captioning\ndata: a\ncaptioning: {captions: some}", "captioning.captions = 'some'"),
        ("- 1", "must be a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_faults_name_the_key(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=sentence.replace("[", r"\[")):
        TrainConfig.load(file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no settings file"):
        TrainConfig.load(tmp_path / "nothing.yaml")


def test_each_task_has_defaults_of_its_own_which_settings_replace() -> None:
    for task in TASKS.names():
        config = TrainConfig.load(None, {"task": task, "data": "photos"})
        for key, value in TASKS[task].defaults.items():
            chosen = getattr(config, key)
            if isinstance(value, dict):
                assert value.items() <= chosen.model_dump().items()
            else:
                assert chosen == value
        assert TrainConfig.load(None, {"task": task, "data": "photos", "batch_size": 3}).batch_size == 3


def test_a_network_that_belongs_to_another_task_is_trained_for_that_one() -> None:
    config = TrainConfig.load(None, {"task": "segmentation", "model": "mask_rcnn", "data": "photos"})
    assert config == TrainConfig.load(None, {"task": "detection", "model": "mask_rcnn", "data": "photos"})


def test_settings_need_no_tensorflow() -> None:
    code = """
import sys
from cvserve.training import TASKS, TrainConfig
for task in TASKS.names():
    TrainConfig.load(None, {"task": task, "data": "photos"})
assert not {"tensorflow", "keras"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
