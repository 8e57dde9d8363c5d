"""A detection head from outside the package, as docs/extending.md describes it: boxes from the cells of one map."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

from cvserve.artifact import BoxCoding, BoxLevel, DetectionPostproc
from cvserve.models import Built, ModelEntry, Paper, register
from cvserve.models.backbones import backbone_features, load_backbone_weights, pick_strides
from cvserve.models.detection.losses import mean_over, smooth_l1
from cvserve.models.detection.task_aligned import assign
from cvserve.models.options import check_sides
from cvserve.postproc.boxes import cells

STRIDE = 16


def toy_head(
    *, num_classes: int, image_size: tuple[int, int], weights: str | None = None, backbone: str = "toy_net"
) -> Built:
    """Builds the network: for each cell of stride 16 the distances to the sides of a box, and its class."""
    check_sides("toy_head", image_size, 32)
    height, width = image_size
    images = keras.Input((height, width, 3), dtype="uint8", name="images")
    features = pick_strides(backbone_features(images, backbone), [STRIDE], backbone)[STRIDE]
    outputs = {}
    for name, numbers in (("box_offsets", 4), ("class_logits", num_classes)):
        maps = layers.Conv2D(numbers, 1, name=f"{name}_map")(features)
        outputs[name] = layers.Reshape((-1, numbers), dtype="float32", name=name)(maps)
    network = keras.Model(images, outputs, name="toy_head")
    if weights is not None:
        load_backbone_weights(network, weights)

    coding = BoxCoding(kind="distances", levels=(BoxLevel(rows=height // STRIDE, columns=width // STRIDE),))
    centers, sizes = (tf.constant(values) for values in cells(coding, height, width))

    def loss(batch: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        answers = network(batch, training=True)
        steps = answers["box_offsets"] * tf.tile(sizes, [1, 2])
        predicted = tf.concat([centers - steps[..., :2], centers + steps[..., 2:]], axis=-1)
        logits = answers["class_logits"]
        target = assign(tf.sigmoid(logits), tf.stop_gradient(predicted), centers, boxes, labels)
        positive = target.labels >= 0
        count = tf.reduce_sum(tf.cast(positive, tf.float32))
        classes = tf.nn.sigmoid_cross_entropy_with_logits(tf.one_hot(target.labels, tf.shape(logits)[-1]), logits)
        apart = tf.reduce_sum(smooth_l1(predicted / STRIDE, target.boxes / STRIDE), axis=-1)
        return {"box": mean_over(apart, positive, count), "class": tf.reduce_mean(classes)}

    return Built(network, DetectionPostproc(activation="sigmoid", boxes=coding), loss)


register(
    ModelEntry("detection", "toy_head", toy_head, 64, "one map of cells", Paper("A Toy", "Nobody et al.", 2026), 2_844)
)
