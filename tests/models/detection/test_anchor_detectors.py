"""What is special about retinanet, ssd and yolov1; what all networks have in common: test_every_network.py."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from models.cases import SMALL

from cvserve.errors import InvalidInput
from cvserve.models import Built, build_model
from cvserve.models.detection.grid_loss import _corners, _decode
from cvserve.postproc.boxes import decode_boxes

SIZE = (64, 128)


def _small(name: str) -> Built:
    keras.utils.set_random_seed(0)
    return build_model("detection", name, num_classes=3, image_size=SIZE, **SMALL["detection", name])


def _images(count: int = 2, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)


def test_ssd300_has_the_8732_boxes_of_the_paper() -> None:
    spec = build_model("detection", "ssd", num_classes=3, backbone_options={"width": 4}).postproc
    assert spec is not None
    assert spec.boxes is not None
    assert [(level.rows, level.columns) for level in spec.boxes.levels] == [(n, n) for n in (38, 19, 10, 5, 3, 1)]
    assert spec.boxes.boxes == 8732


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
def test_invalid_options_are_one_sentence(name: str, options: dict[str, Any], sentence: str) -> None:
    size = options.pop("image_size", SIZE)
    with pytest.raises(InvalidInput, match=sentence):
        build_model("detection", name, num_classes=3, image_size=size, **options)
