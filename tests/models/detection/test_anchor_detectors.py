"""The questions asked of retinanet, ssd and yolov1."""

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
from cvserve.models.detection.grid_loss import _corners, _decode
from cvserve.postproc.boxes import decode_boxes
from cvserve.postproc.decoders.detection import decode_detection_arrays

SIZE = (64, 128)
# The smallest of each that has all of its parts.
SMALL: dict[str, dict[str, Any]] = {
    "retinanet": {"backbone_options": {"width": 4}, "channels": 8, "depth": 1, "levels": (3, 6)},
    "ssd": {"backbone_options": {"width": 4}},
    "yolov1": {"backbone_options": {"width": 4}, "neck": 8, "hidden": 16},
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "retinanet of csp, group norm": (
        "retinanet",
        {"backbone": "csp", "backbone_options": {"width": 4}, "channels": 8, "depth": 1, "norm": "group"},
    ),
    "retinanet as published": (
        "retinanet",
        {**SMALL["retinanet"], "norm": "none", "levels": (3, 7), "box_loss": "ciou"},
    ),
    "ssd of resnet18": ("ssd", {"backbone": "resnet18", "backbone_options": {"width": 4}, "extra_channels": 16}),
    "ssd as published": ("ssd", {"backbone_options": {"width": 4}, "normalised": False}),
    "ssd of mobilenet_v2": (
        "ssd",
        {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}, "extra_channels": 16},
    ),
    "yolov1 of darknet": (
        "yolov1",
        {"backbone": "darknet", "backbone_options": {"width": 4}, "neck": 8, "hidden": 16, "dropout": 0.5, "grid": 5},
    ),
}
ALL = {**{name: (name, options) for name, options in SMALL.items()}, **OTHERS}


def _small(name: str, image_size: tuple[int, int] = SIZE, **more: Any) -> Built:
    model, options = ALL[name]
    keras.utils.set_random_seed(0)
    return build_model("detection", model, num_classes=3, image_size=image_size, **{**options, **more})


def _images(count: int = 2, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)


@pytest.mark.parametrize("name", ALL)
def test_answers_are_those_of_the_contract(name: str) -> None:
    detector = _small(name)
    answers = detector.network(_images(3), training=False)
    spec = detector.postproc
    assert spec.boxes is not None
    boxes = spec.boxes.boxes
    assert answers["box_offsets"].shape == (3, boxes, 4)
    assert answers["class_logits"].shape == (3, boxes, 4 if spec.activation == "softmax" else 3)
    assert ("objectness" in answers) == (ALL[name][0] == "yolov1")
    assert all(values.dtype == tf.float32 for values in answers.values())
    arrays = {role: values.numpy() for role, values in answers.items()}
    for found, scores, classes, _ in decode_detection_arrays(arrays, spec, *SIZE, score_threshold=0.0):
        assert len(found) == len(scores) == len(classes)
        assert np.isfinite(found).all()


@pytest.mark.parametrize("name", [*SMALL, "retinanet as published", "ssd as published", "yolov1 of darknet"])
def test_the_loss_is_one_graph_for_any_number_of_objects(name: str) -> None:
    """Finite with none and with padding only; with objects, every variable that is trained has a gradient."""
    detector = _small(name)

    def step(images: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            parts = detector.loss(images, boxes, labels)
            total = tf.add_n(list(parts.values()))
        return parts, tape.gradient(total, detector.network.trainable_variables)

    specs = [((None, *SIZE, 3), tf.uint8), ((None, None, 4), tf.float32), ((None, None), tf.int32)]
    run = tf.function(step, input_signature=[tf.TensorSpec(*spec) for spec in specs])
    images = _images()
    boxes = np.array([[[10, 10, 50, 60], [60, 5, 120, 60]], [[0, 0, 128, 64], [0, 0, 0, 0]]], np.float32)
    labels = np.array([[0, 2], [1, -1]], np.int32)
    parts, gradients = run(images, boxes, labels)
    assert all(np.isfinite(part) and part.dtype == tf.float32 for part in parts.values())
    variables = detector.network.trainable_variables
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
    for nothing in ((boxes[:, :0], labels[:, :0]), (boxes * 0, np.full_like(labels, -1))):
        parts, gradients = run(images, *nothing)
        assert all(np.isfinite(part) for part in parts.values())
        assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert run.experimental_get_tracing_count() == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", each(SMALL, always=("retinanet",)))
def test_a_few_steps_lower_the_loss(name: str) -> None:
    detector = _small(name)
    optimizer = keras.optimizers.Adam(0.003)
    images = _images()
    boxes = np.array([[[10, 10, 50, 60]], [[60, 5, 120, 60]]], np.float32)
    labels = np.array([[0], [2]], np.int32)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.add_n(list(detector.loss(images, boxes, labels).values()))
        variables = detector.network.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    first = float(step())
    for _ in range(15):
        last = float(step())
    assert last < 0.8 * first


@pytest.mark.slow
@pytest.mark.parametrize("name", each([*SMALL, "retinanet of csp, group norm"], always=("retinanet", "ssd")))
def test_exports_to_onnx_and_tflite(name: str, tmp_path: Path) -> None:
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    detector = _small(name)
    network = Network(detector.network, PreprocSpec(height=SIZE[0], width=SIZE[1], resize="letterbox"))
    images = _images(3)
    expected = network.answers(images)
    session = onnxruntime.InferenceSession(str(write_onnx(network, tmp_path / "model.onnx")))
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(names, {"images": images}), strict=True))
    write_saved_model(network, tmp_path / "saved")
    interpreter = Interpreter(str(write_tflite(tmp_path / "saved", tmp_path / "model.tflite")))
    lite = interpreter.get_signature_runner("serving_default")(images=images)
    for output, values in expected.items():
        np.testing.assert_allclose(answers[output], values, rtol=1e-3, atol=1e-3, err_msg=f"onnx {output}")
        np.testing.assert_allclose(lite[output], values, rtol=1e-3, atol=1e-3, err_msg=f"tflite {output}")


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


def test_bfloat16_answers_float32() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        detectors = [_small(name) for name in SMALL]
    finally:
        keras.config.set_dtype_policy(policy)
    for detector in detectors:
        answers = detector.network(_images(), training=False)
        assert {values.dtype for values in answers.values()} == {tf.float32}
        parts = detector.loss(tf.constant(_images()), tf.zeros((2, 1, 4)), tf.zeros((2, 1), tf.int32))
        assert all(np.isfinite(part) for part in parts.values())


def test_published_sizes() -> None:
    """SSD300: 26.3 million parameters for 20 classes (torchvision and the authors' 26.2), 8732 boxes."""
    detector = build_model("detection", "ssd", num_classes=20, normalized=False)
    assert round(detector.network.count_params() / 1e6, 1) == 26.3
    assert detector.postproc.boxes is not None
    assert [(level.rows, level.columns) for level in detector.postproc.boxes.levels] == [
        (side, side) for side in (38, 19, 10, 5, 3, 1)
    ]
    assert detector.postproc.boxes.boxes == 8732


def test_yolov1_learns_the_boxes_that_postproc_decodes() -> None:
    detector = _small("yolov1")
    coding = detector.postproc.boxes
    assert coding is not None
    offsets = np.random.default_rng(0).random((2, 49, 2, 4), np.float32)
    ours = _decode(offsets, _corners(7)[:, None, :], 7, *SIZE).numpy().reshape(2, 98, 4)
    np.testing.assert_allclose(ours, decode_boxes(offsets.reshape(2, 98, 4), coding, *SIZE), atol=1e-3)


def test_retinanet_scores_start_at_one_percent() -> None:
    answers = _small("retinanet").network(_images(), training=False)
    np.testing.assert_allclose(np.median(tf.sigmoid(answers["class_logits"])), 0.01, rtol=0.2)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("retinanet", {"image_size": 100}, "multiples of 32 pixels, not 100 x 100"),
        ("retinanet", {"levels": (1, 7)}, "levels as .finest, coarsest."),
        ("retinanet", {"channels": 0}, "channels of at least 4"),
        ("retinanet", {"norm": "layer"}, "no norm 'layer'; known: batch, group, none"),
        ("retinanet", {"box_loss": "l2"}, "no box_loss 'l2'"),
        ("retinanet", {"anchor_scale": 0}, "anchor_scale above 0"),
        ("retinanet", {"anchor_ratios": ()}, "anchor_ratios above 0"),
        ("retinanet", {"backbone": "resnet18x"}, "no backbone 'resnet18x'"),
        ("retinanet", {"backbone_options": {"stem": "cifar", "width": 4}}, "no feature map of stride 16"),
        ("ssd", {"image_size": 32}, "at least 64 x 64"),
        ("ssd", {"scales": (0.9, 0.2)}, "scales as .least, greatest."),
        ("ssd", {"backbone_options": {"widht": 4}}, "no option 'widht'"),
        ("ssd", {"backbone_options": {"width": 4, "output_stride": 8}}, "vgg16 has no feature map of stride 16"),
        ("yolov1", {"grid": 0}, "grid of at least 1"),
        ("yolov1", {"dropout": 1.0}, "dropout from 0 to below 1"),
        ("yolov1", {"weights": "imagenet"}, "no imagenet weights"),
        ("yolov1", {"neck": 7.5}, "neck of at least 8"),
    ],
)
def test_what_cannot_be_is_one_sentence(name: str, options: dict[str, Any], sentence: str) -> None:
    size = options.pop("image_size", SIZE)
    with pytest.raises(InvalidInput, match=sentence):
        build_model("detection", name, num_classes=3, image_size=size, **options)
