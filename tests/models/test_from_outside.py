"""A backbone and a detection head that are registered from outside are networks like all others."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from models import questions
from models.questions import Case

from cvserve.cli.main import main
from cvserve.models import find, list_models, load_networks, registry
from cvserve.models.backbones import list_backbones
from cvserve.models.backbones import registry as backbones
from cvserve.training.config import OptimizerConfig
from cvserve.training.step import Trainable, TrainStep, make_optimizer

CASES = [
    Case("classification", "toy_net"),
    Case("detection", "toy_head"),
    Case("detection", "retinanet", {"backbone": "toy_net", "channels": 8, "depth": 1}, "retinanet of toy_net"),
]


@pytest.fixture(scope="module", autouse=True)
def toys() -> Iterator[None]:
    """Imports the modules of the toys, which register themselves, and takes them out again afterwards."""
    load_networks()
    tables = registry._entries, backbones._backbones
    before = [dict(table) for table in tables]
    for name in ("models.toy_classifier", "models.toy_detector"):
        importlib.import_module(name)
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)  # type: ignore[arg-type]


def test_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "toy_net" in list_models("classification")
    assert "toy_head" in list_models("detection")
    assert "toy_net" in list_backbones()
    assert main(["models", "toy*"]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [["toy_net", "classification"], ["toy_head", "detection"]]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_they_answer_as_all_networks_do(case: Case, tmp_path: Path) -> None:
    built = case.build()
    questions.ask_outputs(case, built)
    questions.ask_gradients(case, built)
    questions.ask_saving(case, built, tmp_path)
    questions.ask_bfloat16(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", [pytest.param(CASES[0], marks=pytest.mark.thorough), CASES[1]], ids=str)
def test_they_are_exported(case: Case, tmp_path: Path) -> None:
    questions.ask_formats(case, case.build(), tmp_path)


@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_they_are_trained_by_the_training_step(case: Case) -> None:
    built = case.build()
    targets = case.targets()

    def loss(images: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tf.Tensor:
        return tf.add_n(list(built.loss(images, *batch).values()))

    images_spec = tf.TensorSpec([None, *case.image_size, 3], tf.uint8)
    specs = [images_spec, tuple(tf.TensorSpec(target.shape, target.dtype) for target in targets)]
    config = OptimizerConfig(name="adamw", learning_rate=0.01, weight_decay=0.0)
    step = TrainStep(
        Trainable(built.network, loss), make_optimizer(config, built.network), average_decay=0.9, specs=specs
    )
    before = [value.copy() for value in built.network.get_weights()]
    values = [float(step.run(case.images(), targets, tf.constant(0.01))) for _ in range(10)]
    assert values[-1] < values[0]
    changed = [not np.array_equal(old, new) for old, new in zip(before, built.network.get_weights(), strict=True)]
    assert all(changed)


def test_the_parameters_that_they_list_are_theirs() -> None:
    for task, name, classes in (("classification", "toy_net", 1000), ("detection", "toy_head", 80)):
        keras.utils.set_random_seed(0)
        network = find(task, name).build(num_classes=classes, image_size=(64, 64), weights=None).network
        assert questions.parameters_of(network) == find(task, name).parameters


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="classification model 'toy_net' is registered twice"):
        registry.register(find("classification", "toy_net"))
