"""What is special about mask_rcnn; what all networks have in common: test_every_network.py."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from models.cases import SMALL

from cvserve.data.instance_masks import GRID_SIZE, InstanceMasks
from cvserve.errors import InvalidInput
from cvserve.models import Built, build_model, find
from cvserve.models.detection.mask_head import MaskHead, mask_loss, mask_targets
from cvserve.models.detection.sampling import Sample
from cvserve.postproc import ObjectMasks
from cvserve.postproc.decoders.detection import decode_detection_arrays
from cvserve.postproc.pasting import paste

SIZE = (64, 96)


def _small(**more: Any) -> Built:
    keras.utils.set_random_seed(0)
    options = {**SMALL["detection", "mask_rcnn"], **more}
    return build_model("detection", "mask_rcnn", num_classes=3, image_size=SIZE, **options)


def _images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), np.uint8)


def test_without_objects_there_is_no_mask_loss() -> None:
    detector = _small()
    boxes = np.array([[[10, 10, 50, 60], [60, 5, 90, 60]], [[0, 0, 96, 64], [0, 0, 0, 0]]], np.float32)
    labels = np.array([[0, 2], [1, -1]], np.int32)
    grids = np.random.default_rng(0).integers(0, 256, (2, 2, GRID_SIZE, GRID_SIZE), np.uint8)
    parts = detector.loss(_images(), boxes, labels, boxes, grids)
    assert set(parts) == {"head_class", "head_box", "rpn_class", "rpn_box", "mask"}
    assert all(part > 0 for part in parts.values())
    nothing = (boxes[:, :0], labels[:, :0], boxes[:, :0], grids[:, :0])
    for batch in (nothing, (boxes * 0, np.full_like(labels, -1), boxes * 0, grids)):
        assert float(detector.loss(_images(), *batch)["mask"]) == 0.0


def _sample(proposals: list[list[float]], objects: list[int]) -> Sample:
    regions = tf.constant([proposals], tf.float32)
    return Sample(regions, tf.zeros([1, len(objects)], tf.int32), regions, tf.constant([objects]), None)


def test_targets_are_the_objects_seen_through_the_regions() -> None:
    """Two objects of which the left or the upper half is there, through their own frames and through others."""
    grids = np.zeros((1, 2, GRID_SIZE, GRID_SIZE), np.uint8)
    grids[0, 0, :, : GRID_SIZE // 2] = 255
    grids[0, 1, : GRID_SIZE // 2] = 255
    frames = np.array([[[10, 10, 30, 30], [40, 0, 60, 40]]], np.float32)
    proposals = [[10, 10, 30, 30], [40, 0, 60, 40], [10, 10, 20, 30], [0, 10, 20, 30], [50, 30, 60, 40], [0, 0, 5, 5]]
    found = mask_targets(_sample(proposals, [0, 1, 0, 0, 1, 0]), tf.constant(frames), tf.constant(grids), 4)[0].numpy()
    left, upper = np.zeros((4, 4)), np.zeros((4, 4))
    left[:, :2], upper[:2] = 1, 1
    for target, wanted in zip(found, [left, upper, np.ones((4, 4)), left[:, ::-1], left * 0, left * 0], strict=True):
        np.testing.assert_array_equal(target, wanted)


def test_targets_come_back_as_the_masks_they_were() -> None:
    """From a mask to a grid, through a region that is the box, and pasted: little but the cells' borders is lost."""
    y, x = np.mgrid[:64, :96]
    masks = ObjectMasks.of(
        np.stack([(x - 40) ** 2 / 900 + (y - 30) ** 2 / 400 < 1, (x > 50) & (y > x - 48) & (x < 90)])
    )
    instance_masks = InstanceMasks.of(masks)
    targets = mask_targets(
        _sample(instance_masks.frames.tolist(), [0, 1]),
        tf.constant(instance_masks.frames[None]),
        tf.constant(instance_masks.grids[None]),
        28,
    )
    back = paste(targets[0].numpy(), instance_masks.frames, 64, 96)
    for index in range(2):
        mine, theirs = back.mask(index), masks.mask(index)
        assert (mine & theirs).sum() / (mine | theirs).sum() > 0.95


def test_the_loss_counts_positive_regions_alone() -> None:
    logits = tf.constant([[[[0.0]], [[20.0]], [[-3.0]]]])
    targets = tf.constant([[[[1.0]], [[0.0]], [[0.0]]]])
    loss = mask_loss(logits, targets, tf.constant([[True, False, True]]))
    assert float(loss) == pytest.approx((np.log(2) + np.log1p(np.exp(-3))) / 2, rel=1e-5)


def test_the_mask_of_one_class_equals_a_convolution_for_all() -> None:
    """The product with a class's weights is what a 1x1 convolution to all classes would say of that class."""
    keras.utils.set_random_seed(0)
    head = MaskHead(3, 4, 1)
    regions = np.random.default_rng(0).normal(size=(2, 5, 3, 3, 6)).astype(np.float32)
    classes = np.array([[0, 1, 2, 1, 0], [2, 2, 0, 1, 1]], np.int32)
    found = head(regions, classes).numpy()
    features = head.enlarge(head.convolutions[0](regions.reshape(10, 3, 3, 6))).numpy()
    every = features @ head.class_kernel.numpy().T + head.class_bias.numpy()
    wanted = np.take_along_axis(every, classes.reshape(10, 1, 1, 1), axis=-1)[..., 0]
    np.testing.assert_allclose(found, wanted.reshape(2, 5, 6, 6), atol=1e-5)


def _scene() -> tuple[np.ndarray, ...]:
    """Two images of ellipses and triangles in the colours of their classes on dark noise, and their targets."""
    images = _images() // 4
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    drawn = {
        (0, 0): ((x - 28) ** 2 / 400 + (y - 34) ** 2 / 484 < 1, 0),
        (0, 1): ((y > 4) & (y < 36) & (x > 60) & (x - 60 < y - 4), 2),
        (1, 0): ((y > 20) & (y < 60) & (x > 30) & (x < 80) & (x - 30 < (y - 20) * 1.25), 1),
    }
    boxes, labels = np.zeros((2, 2, 4), np.float32), np.full((2, 2), -1, np.int32)
    grids = np.zeros((2, 2, GRID_SIZE, GRID_SIZE), np.uint8)
    colors = np.array([[255, 40, 40], [40, 255, 40], [40, 40, 255]], np.uint8)
    for (row, place), (mask, label) in drawn.items():
        instance_masks = InstanceMasks.of(ObjectMasks.of(mask[None]))
        boxes[row, place], grids[row, place], labels[row, place] = (
            instance_masks.frames[0],
            instance_masks.grids[0],
            label,
        )
        images[row][mask] = colors[label]
    return images, boxes, labels, boxes, grids


@pytest.mark.slow
@pytest.mark.thorough
def test_memorises_masks() -> None:
    detector = _small(backbone_options={"width": 12}, units=32, mask_channels=16)
    images, boxes, labels, frames, grids = _scene()
    variables = detector.network.trainable_variables
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.004, 150))
    optimizer.build(variables)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            total = tf.add_n(list(detector.loss(images, boxes, labels, frames, grids).values()))
        optimizer.apply(tape.gradient(total, variables), variables)

    for _ in range(150):
        step()
    answers = {role: values.numpy() for role, values in detector.network(images, training=False).items()}
    for row, found in enumerate(decode_detection_arrays(answers, detector.postproc, *SIZE, score_threshold=0.5)):
        assert set(found.classes.tolist()) == {label for label in labels[row].tolist() if label >= 0}
        pasted = paste(found.masks, found.boxes, *SIZE)  # type: ignore[arg-type]
        ground_truth = paste(grids[row].astype(np.float32) / 255, boxes[row], *SIZE)
        for place, label in enumerate(labels[row].tolist()):
            if label >= 0:
                mine, theirs = pasted.mask(found.classes.tolist().index(label)), ground_truth.mask(place)
                assert (mine & theirs).sum() / (mine | theirs).sum() > 0.7


def test_options() -> None:
    assert find("detection", "mask_rcnn").masks
    assert not find("detection", "faster_rcnn").masks
    with pytest.raises(InvalidInput, match="mask_rcnn needs a objects of at least 1"):
        _small(objects=0)
    with pytest.raises(InvalidInput, match="mask_rcnn takes no such option: 'depht'"):
        _small(depht=3)
    with pytest.raises(InvalidInput, match="mask_rcnn cannot sample 32 of 20 proposals"):
        _small(sampled=32)
