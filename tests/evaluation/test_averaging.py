"""Averaging over views, against the same mean by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cvserve.artifact import PreprocSpec
from cvserve.errors import InvalidInput
from cvserve.runs import Run, RunDescription, load_run

keras = pytest.importorskip("keras")

from cvserve.evaluation import evaluate  # noqa: E402
from cvserve.evaluation.averaging import Views, averaged  # noqa: E402
from cvserve.models import ModelEntry, register, registry  # noqa: E402
from cvserve.models.segmentation.segmenter import Segmenter, segmenter  # noqa: E402

SIZE = (32, 64)
LABELS = ("a", "b", "c")


def build(
    num_classes: int, image_size: tuple[int, int], weights: str | None = None, dense: bool = False, width: int = 4
) -> Segmenter:
    """Builds a small network that distinguishes left from right; with `dense` its weights depend on the size."""
    layers = keras.layers
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    values = layers.Rescaling(1 / 50, offset=-2.0)(images)
    values = layers.Conv2D(width, 5, padding="same", activation="tanh", kernel_initializer="random_normal")(values)
    if dense:
        values = layers.EinsumDense("bhwc,wv->bhvc", output_shape=(None, image_size[1], width))(values)
    logits = layers.Conv2D(num_classes, 3, padding="same", kernel_initializer="random_normal")(values)
    return segmenter(images, logits, name="tiny")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of the name "tiny", for the time of the test."""
    monkeypatch.setitem(registry._entries, ("segmentation", "tiny"), None)  # takes it out again afterwards
    del registry._entries["segmentation", "tiny"]
    register(ModelEntry("segmentation", "tiny", build, 32, "for tests"))


@pytest.fixture
def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    return build(3, SIZE).network


def run_of(directory: Path, **changes: object) -> Run:
    values = {
        "task": "segmentation",
        "architecture": "tiny",
        "labels": LABELS,
        "preproc": PreprocSpec(height=SIZE[0], width=SIZE[1], resize="exact"),
        "data": "scenes",
    }
    return Run(directory, RunDescription(**(values | changes)), {})


def probabilities(network: keras.Model, images: np.ndarray) -> np.ndarray:
    logits = keras.Model(network.input, network.get_layer("logits").output)(images).numpy()
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


IMAGES = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), np.uint8)


def test_flip(network: keras.Model, tmp_path: Path) -> None:
    found = averaged(run_of(tmp_path), network, Views(flip=True))(IMAGES)
    mirrored = probabilities(network, IMAGES[:, :, ::-1])[:, :, ::-1]
    plain = probabilities(network, IMAGES)
    mean = (plain + mirrored) / 2
    assert (found["class_map"].dtype, found["confidence"].dtype) == (np.uint8, np.float32)
    assert (found["class_map"] == mean.argmax(-1)).mean() > 0.999
    np.testing.assert_allclose(found["confidence"], mean.max(-1), atol=1e-5)
    # It is not the result of the image alone.
    assert (plain.argmax(-1) != mean.argmax(-1)).mean() > 0.02


def test_no_views_give_the_network_itself(network: keras.Model, tmp_path: Path) -> None:
    # 0.99 of the size is that size, in whole steps of 32.
    for views in (Views(), Views(scales=(0.99,))):
        found = averaged(run_of(tmp_path), network, views)(IMAGES)
        expected = network(IMAGES)
        np.testing.assert_array_equal(found["class_map"], expected["class_map"].numpy())
        np.testing.assert_allclose(found["confidence"], expected["confidence"].numpy(), atol=1e-6)


@pytest.mark.usefixtures("tiny")
def test_scales(network: keras.Model, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    found = averaged(run_of(tmp_path), network, Views(flip=True, scales=(2.0,)))(IMAGES)
    larger = build(3, (64, 128)).network
    larger.set_weights(network.get_weights())
    big = tf.image.resize(IMAGES.astype(np.float32), (64, 128)).numpy().round().clip(0, 255).astype(np.uint8)
    parts = [
        probabilities(network, IMAGES),
        probabilities(network, IMAGES[:, :, ::-1])[:, :, ::-1],
        tf.image.resize(probabilities(larger, big), SIZE).numpy(),
        tf.image.resize(probabilities(larger, big[:, :, ::-1])[:, :, ::-1], SIZE).numpy(),
    ]
    mean = np.mean(parts, axis=0)
    np.testing.assert_allclose(found["confidence"], mean.max(-1), atol=1e-4)
    assert (found["class_map"] == mean.argmax(-1)).mean() > 0.995


@pytest.mark.usefixtures("tiny")
def test_a_network_of_one_size(tmp_path: Path) -> None:
    network = build(3, SIZE, dense=True).network
    run = run_of(tmp_path, model_options={"dense": True})
    averaged(run, network, Views(flip=True))
    with pytest.raises(InvalidInput, match=r"its tiny cannot be built for 64 x 128 pixels, so that it cannot"):
        averaged(run, network, Views(scales=(2.0,)))


def test_an_unknown_network(network: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"its unknown cannot be built .* only over flip"):
        averaged(run_of(tmp_path, architecture="unknown"), network, Views(scales=(2.0,)))


def test_another_task(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(run_of(tmp_path, task="detection").description.model_dump_json())
    with pytest.raises(InvalidInput, match="is a detection run; only those of segmentation are averaged"):
        evaluate(tmp_path, average="flip")


@pytest.mark.parametrize(
    ("text", "views"),
    [
        ("flip", Views(True)),
        ("flip,0.75, 1.25", Views(True, (0.75, 1.25))),
        ("1,0.5", Views(False, (0.5,))),
    ],
)
def test_reading(text: str, views: Views) -> None:
    assert Views.parse(text) == views


@pytest.mark.parametrize(("text", "fault"), [("flop", "'flop'"), ("", "''"), ("9", "not 9"), ("nan", "nan")])
def test_reading_faults(text: str, fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        Views.parse(text)


@pytest.mark.usefixtures("tiny")
def test_evaluate(network: keras.Model, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    own = build(7, SIZE).network
    data = "scenes?count=4&val_count=3&image_size=64"
    scenes = ("ground", "circle", "cross", "heart", "square", "star", "triangle")
    run = run_of(tmp_path, labels=scenes, data=data)
    (tmp_path / "run.json").write_text(run.description.model_dump_json())
    own.save(tmp_path / "model.keras")
    assert load_run(tmp_path).task == "segmentation"
    plain, averages = evaluate(tmp_path), evaluate(tmp_path, average="flip,2")
    assert averages.target == f"{tmp_path} (keras, averaged over flip, 2)"
    assert (plain.report.confusion != averages.report.confusion).any()
    assert plain.report.confusion.sum() == averages.report.confusion.sum() == 3 * 64 * 64


def test_artifacts_are_not_averaged(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is an artifact; only run directories of segmentation are averaged"):
        evaluate(tmp_path, "scenes", average="flip")
