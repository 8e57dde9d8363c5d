"""The questions asked of faster_rcnn, fast_rcnn and rcnn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from thoroughness import each

from cvserve.artifact import PreprocSpec
from cvserve.errors import InvalidInput
from cvserve.export.network import Network
from cvserve.export.onnx import write_onnx
from cvserve.export.saved_model import write_saved_model
from cvserve.export.tflite import write_tflite
from cvserve.models import Built, build_model
from cvserve.postproc.decoders.detection import decode_detection_arrays

SIZE = (64, 96)
_TINY: dict[str, Any] = {"backbone_options": {"width": 4}, "units": 16, "sampled": 16}
# The smallest of each that has all of its parts.
SMALL: dict[str, dict[str, Any]] = {
    "faster_rcnn": {**_TINY, "channels": 8, "candidates": 60, "proposals": 20},
    "fast_rcnn": {**_TINY, "scales": (0.5, 1.0)},
    "rcnn": {**_TINY, "scales": (0.5, 1.0), "crop": 32},
}
ALL: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, options) for name, options in SMALL.items()},
    "faster_rcnn as published": ("faster_rcnn", {**SMALL["faster_rcnn"], "levels": (4, 4), "pooling": "pool"}),
    "fast_rcnn of a pyramid": (
        "fast_rcnn",
        {**SMALL["fast_rcnn"], "levels": (3, 5), "channels": 8, "pooling": "align", "norm": "group"},
    ),
}


def _small(name: str, **more: Any) -> Built:
    model, options = ALL[name]
    keras.utils.set_random_seed(0)
    return build_model("detection", model, num_classes=3, image_size=SIZE, **{**options, **more})


def _images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), np.uint8)


@pytest.mark.parametrize("name", ALL)
def test_answers_are_those_of_the_contract(name: str) -> None:
    detector = _small(name)
    answers = {role: values.numpy() for role, values in detector.network(_images(3), training=False).items()}
    assert set(answers) == {"box_offsets", "class_logits", "proposals"}
    assert all(values.dtype == np.float32 for values in answers.values())
    regions = answers["proposals"].shape[1]
    assert answers["proposals"].shape == (3, regions, 4)
    assert answers["class_logits"].shape == (3, regions, 4)
    assert answers["box_offsets"].shape == (3, regions, 3, 4)
    assert answers["proposals"].min() >= 0
    assert (answers["proposals"].max(axis=(0, 1)) <= np.array([96, 64, 96, 64]) + 1e-3).all()
    for found, scores, classes, _ in decode_detection_arrays(answers, detector.postproc, *SIZE, score_threshold=0.0):
        assert len(found) == len(scores) == len(classes) > 0


@pytest.mark.parametrize("name", ALL)
def test_the_loss_is_one_graph_for_any_number_of_objects(name: str) -> None:
    """Finite with none and with padding only; with objects, every variable that is trained has a gradient."""
    detector = _small(name)
    variables = detector.network.trainable_variables

    def step(images: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            parts = detector.loss(images, boxes, labels)
            total = tf.add_n(list(parts.values()))
        watched = {id(variable) for variable in tape.watched_variables()}
        # What the loss trains is the network's, so that an optimiser over its variables misses nothing.
        assert watched <= {id(variable.value) for variable in variables}
        return parts, tape.gradient(total, variables)

    specs = [((None, *SIZE, 3), tf.uint8), ((None, None, 4), tf.float32), ((None, None), tf.int32)]
    run = tf.function(step, input_signature=[tf.TensorSpec(*spec) for spec in specs])
    boxes = np.array([[[10, 10, 50, 60], [60, 5, 90, 60]], [[0, 0, 96, 64], [0, 0, 0, 0]]], np.float32)
    labels = np.array([[0, 2], [1, -1]], np.int32)
    parts, gradients = run(_images(), boxes, labels)
    assert set(parts) == {"head_class", "head_box", *(["rpn_class", "rpn_box"] if "faster" in name else [])}
    assert all(np.isfinite(part) and part > 0 and part.dtype == tf.float32 for part in parts.values())
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
    for nothing in ((boxes[:, :0], labels[:, :0]), (boxes * 0, np.full_like(labels, -1))):
        parts, gradients = run(_images(), *nothing)
        assert all(np.isfinite(part) for part in parts.values())
        assert float(parts["head_box"]) == 0.0
        assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert run.experimental_get_tracing_count() == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", each(SMALL, always=("faster_rcnn",)))
def test_learns_two_images_by_heart(name: str) -> None:
    """Bright rectangles on noise: the best of each class is where it is, and no class is found that is not there."""
    detector = _small(name, backbone_options={"width": 16}, units=32)
    images = _images() // 4
    boxes = np.array([[[8, 12, 48, 56], [60, 4, 92, 36]], [[30, 20, 80, 60], [0, 0, 0, 0]]], np.float32)
    labels = np.array([[0, 2], [1, -1]], np.int32)
    colors = np.array([[255, 40, 40], [40, 255, 40], [40, 40, 255]], np.uint8)
    for row in range(2):
        for (x1, y1, x2, y2), label in zip(boxes[row].astype(int), labels[row], strict=True):
            if label >= 0:
                images[row, y1:y2, x1:x2] = colors[label]
    optimizer = keras.optimizers.Adam(0.003)
    variables = detector.network.trainable_variables

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.add_n(list(detector.loss(images, boxes, labels).values()))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), 10.0)
        optimizer.apply(gradients, variables)

    for _ in range(150):
        step()
    answers = {role: values.numpy() for role, values in detector.network(images, training=False).items()}
    found = decode_detection_arrays(answers, detector.postproc, *SIZE, score_threshold=0.5)
    for row, (got, _, classes, _) in enumerate(found):
        wanted = {int(label): box for box, label in zip(boxes[row], labels[row], strict=True) if label >= 0}
        assert set(classes.tolist()) == set(wanted)
        for label, box in wanted.items():
            best = int(np.flatnonzero(classes == label)[0])
            np.testing.assert_allclose(got[best], box, atol=6)


@pytest.mark.slow
@pytest.mark.parametrize("name", each(SMALL, always=()))  # the same stages, with masks: test_mask_rcnn.py
def test_onnx_and_tflite_find_the_same(name: str, tmp_path: Path) -> None:
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    detector = _small(name)
    network = Network(detector.network, PreprocSpec(height=SIZE[0], width=SIZE[1], resize="letterbox"))
    images = _images(3)
    expected = network.answers(images)
    session = onnxruntime.InferenceSession(str(write_onnx(network, tmp_path / "model.onnx")))
    names = [output.name for output in session.get_outputs()]
    write_saved_model(network, tmp_path / "saved")
    interpreter = Interpreter(str(write_tflite(tmp_path / "saved", tmp_path / "model.tflite")))
    others = {
        "onnx": dict(zip(names, session.run(names, {"images": images}), strict=True)),
        "tflite": interpreter.get_signature_runner("serving_default")(images=images),
    }
    wanted = decode_detection_arrays(expected, detector.postproc, *SIZE, score_threshold=0.2, iou_threshold=0.5)
    assert all(len(item.boxes) for item in wanted)
    for which, outputs in others.items():
        found = decode_detection_arrays(outputs, detector.postproc, *SIZE, score_threshold=0.2, iou_threshold=0.5)
        for mine, other in zip(wanted, found, strict=True):
            np.testing.assert_allclose(other.boxes, mine.boxes, atol=1e-2, err_msg=which)
            np.testing.assert_allclose(other.scores, mine.scores, atol=1e-4, err_msg=which)
            np.testing.assert_array_equal(other.classes, mine.classes, err_msg=which)
            if mine.masks is not None:
                np.testing.assert_allclose(other.masks, mine.masks, atol=1e-4, err_msg=which)


@pytest.mark.parametrize("name", SMALL)
def test_a_run_fills_a_new_network(name: str, tmp_path: Path) -> None:
    trained = _small(name)
    trained.network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    for role, values in loaded(_images(), training=False).items():
        np.testing.assert_allclose(values, trained.network(_images(), training=False)[role], atol=1e-5)
    keras.utils.set_random_seed(1)
    model, options = ALL[name]
    fresh = build_model(
        "detection", model, num_classes=3, image_size=SIZE, weights=str(tmp_path / "model.keras"), **options
    )
    for ours, theirs in zip(fresh.network.get_weights(), trained.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_answers_float32_and_exports_as_float32(name: str) -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        detector = _small(name)
    finally:
        keras.config.set_dtype_policy(policy)
    answers = detector.network(_images(), training=False)
    assert {values.dtype for values in answers.values()} == {tf.float32}
    parts = detector.loss(tf.constant(_images()), tf.zeros((2, 1, 4)), tf.zeros((2, 1), tf.int32))
    assert all(np.isfinite(part) and part.dtype == tf.float32 for part in parts.values())
    spec = PreprocSpec(height=SIZE[0], width=SIZE[1], resize="letterbox")
    whole = Network(detector.network, spec).answers(_images())
    plain = _small(name).network
    plain.set_weights(detector.network.get_weights())
    for role, values in plain(_images(), training=False).items():
        np.testing.assert_allclose(whole[role], values, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("faster_rcnn", {"image_size": 100}, "multiples of 32 pixels, not 100 x 100"),
        ("faster_rcnn", {"levels": (1, 7)}, "levels as .finest, coarsest."),
        ("faster_rcnn", {"levels": 4}, "levels as .finest, coarsest."),
        ("faster_rcnn", {"pooling": "max"}, "no pooling 'max'; known: align, pool"),
        ("faster_rcnn", {"proposals": 20, "sampled": 64}, "cannot sample 64 of 20 proposals"),
        ("faster_rcnn", {"anchor_scales": (0.0,)}, "anchor_scales above 0"),
        ("faster_rcnn", {"candidates": 0}, "candidates of at least 1"),
        ("fast_rcnn", {"proposals": "magic"}, "no proposals 'magic'; known: grid, selective_search, edge_boxes, given"),
        ("fast_rcnn", {"scales": (0.5, 2.0)}, "scales up to 1"),
        ("fast_rcnn", {"scales": (1.0,), "ratios": (1.0,)}, "cannot sample 64 of 2 regions"),
        ("fast_rcnn", {"levels": (3, 6)}, "coarsest up to 5"),
        ("fast_rcnn", {"units": 0}, "units of at least 1"),
        ("rcnn", {"crop": 40}, "multiple of 32 pixels, not 40"),
        ("rcnn", {"context": 0.5}, "context from 0 to below 0.5"),
        ("rcnn", {"backbone": "resnet19"}, "no backbone 'resnet19'"),
    ],
)
def test_what_cannot_be_is_one_sentence(name: str, options: dict[str, Any], sentence: str) -> None:
    size = options.pop("image_size", SIZE)
    with pytest.raises(InvalidInput, match=sentence):
        build_model("detection", name, num_classes=3, image_size=size, **options)
