"""What is special about faster_rcnn, fast_rcnn and rcnn; what all networks have in common: test_every_network.py."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from models.cases import SMALL
from thoroughness import each

from cvserve.errors import InvalidInput
from cvserve.models import Built, build_model
from cvserve.postproc.decoders.detection import decode_detection_arrays

SIZE = (64, 96)


def _small(name: str, **more: Any) -> Built:
    keras.utils.set_random_seed(0)
    options = {**SMALL["detection", name], **more}
    return build_model("detection", name, num_classes=3, image_size=SIZE, **options)


def _images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), np.uint8)


@pytest.mark.parametrize("name", each(("faster_rcnn", "fast_rcnn", "rcnn"), always=("faster_rcnn",)))
def test_without_objects_there_is_no_box_loss(name: str) -> None:
    detector = _small(name)
    boxes = np.array([[[10, 10, 50, 60], [60, 5, 90, 60]], [[0, 0, 96, 64], [0, 0, 0, 0]]], np.float32)
    labels = np.array([[0, 2], [1, -1]], np.int32)
    parts = detector.loss(_images(), boxes, labels)
    assert set(parts) == {"head_class", "head_box", *(["rpn_class", "rpn_box"] if "faster" in name else [])}
    assert all(part > 0 for part in parts.values())
    for nothing in ((boxes[:, :0], labels[:, :0]), (boxes * 0, np.full_like(labels, -1))):
        assert float(detector.loss(_images(), *nothing)["head_box"]) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", each(("faster_rcnn", "fast_rcnn", "rcnn"), always=("faster_rcnn",)))
def test_memorises_two_images(name: str) -> None:
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
def test_invalid_options_are_one_sentence(name: str, options: dict[str, Any], sentence: str) -> None:
    size = options.pop("image_size", SIZE)
    with pytest.raises(InvalidInput, match=sentence):
        build_model("detection", name, num_classes=3, image_size=size, **options)
