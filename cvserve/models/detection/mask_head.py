"""Builds the mask branch: which cells of a region are its object's (He et al. 2017, arXiv 1703.06870, section 3)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from cvserve.models.detection.sampling import Sample
from cvserve.models.layers.roi_align import line_weights

_MOST = 255.0
"""Value of a grid's cell that the object covers completely."""


@keras.saving.register_keras_serializable(package="cvserve")
class MaskHead(keras.layers.Layer):
    """Computes the mask of one class for each region: convolutions, one of them transposed, which doubles the size.

    The last convolution, 1x1, is the product with the weights of that class alone: those of all others would be thrown
    away.

    Args:
        num_classes: without background. channels, depth: of the convolutions; 256 and 4 in the paper.

    Call arguments:
        regions: float [B, P, rows, columns, C]. classes: int32 [B, P].

    Returns:
        float32 [B, P, 2 * rows, 2 * columns], logits of the class.
    """

    def __init__(self, num_classes: int, channels: int, depth: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.channels = channels
        self.depth = depth
        self.convolutions = [
            layers.Conv2D(
                channels,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                dtype=self.dtype_policy,
                name=f"mask_{index + 1}",
            )
            for index in range(depth)
        ]
        self.enlarge = layers.Conv2DTranspose(
            channels,
            2,
            strides=2,
            activation="relu",
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
            name="mask_enlarge",
        )

    def build(self, regions_shape: tuple[int | None, ...], classes_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        shape = (None, *regions_shape[2:])
        for layer in (*self.convolutions, self.enlarge):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.class_kernel = self.add_weight(
            shape=(self.num_classes, self.channels),
            initializer=keras.initializers.RandomNormal(stddev=0.01),
            name="class_kernel",
        )
        self.class_bias = self.add_weight(shape=(self.num_classes,), initializer="zeros", name="class_bias")

    def call(self, regions: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Computes the outputs that the class describes."""
        count, rows, columns, depth = regions.shape[1:]
        features = tf.reshape(regions, [-1, rows, columns, depth])
        for layer in (*self.convolutions, self.enlarge):
            features = layer(features)
        # A product with ones and zeros instead of a gather, whose gradient would be sparse.
        chosen = tf.reshape(tf.one_hot(classes, self.num_classes), [-1, self.num_classes])
        kernel = tf.matmul(chosen, tf.cast(tf.convert_to_tensor(self.class_kernel), tf.float32))
        bias = tf.matmul(chosen, tf.cast(tf.convert_to_tensor(self.class_bias), tf.float32)[:, tf.newaxis])
        cells = tf.cast(tf.reshape(features, [-1, 4 * rows * columns, self.channels]), tf.float32)
        logits = tf.matmul(cells, kernel[:, :, tf.newaxis])[..., 0] + bias
        return tf.reshape(logits, [-1, count, 2 * rows, 2 * columns])

    def compute_output_spec(self, regions: keras.KerasTensor, classes: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the shapes and dtypes of the outputs."""
        count, rows, columns = regions.shape[1:4]
        return keras.KerasTensor((regions.shape[0], count, 2 * rows, 2 * columns), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "channels": self.channels,
            "depth": self.depth,
        }


def mask_targets(sample: Sample, frames: tf.Tensor, grids: tf.Tensor, cells: int) -> tf.Tensor:
    """Returns the masks that the sampled regions should have: those of their objects, cut out as RoIAlign does.

    Args:
        sample: of S regions. frames: float32 [B, M, 4] and grids: uint8 [B, M, R, R] of the objects, see
            `cvserve.data.instance_masks`; M may be 0.
        cells: rows and columns of a mask.

    Returns:
        float32 [B, S, cells, cells], 0 or 1; of no meaning where the sample is not positive.
    """
    # One more object, which is padding, so that no tensor below is empty if a batch has no objects.
    frames = tf.pad(frames, [[0, 0], [0, 1], [0, 0]], constant_values=1.0)
    grids = tf.pad(grids, [[0, 0], [0, 1], [0, 0], [0, 0]])
    frame = tf.gather(frames, sample.objects, batch_dims=1)
    grid = tf.cast(tf.gather(grids, sample.objects, batch_dims=1), tf.float32) / _MOST
    size = grid.shape[-1]
    least = tf.maximum(frame[..., 2:] - frame[..., :2], 1e-3)
    start = (sample.proposals[..., :2] - frame[..., :2]) / least * float(size)
    end = (sample.proposals[..., 2:] - frame[..., :2]) / least * float(size)
    of_rows = line_weights(start[..., 1], end[..., 1], cells, size, 1)
    of_columns = line_weights(start[..., 0], end[..., 0], cells, size, 1)
    cut = tf.matmul(tf.matmul(of_rows, grid), of_columns, transpose_b=True)
    return tf.cast(cut >= 0.5, tf.float32)


def mask_loss(logits: tf.Tensor, targets: tf.Tensor, positive: tf.Tensor) -> tf.Tensor:
    """Returns binary cross-entropy, the mean over the cells of all masks that are learned; 0 if there are none.

    Args:
        logits, targets: float32 [B, S, cells, cells], of the right class. positive: bool [B, S].
    """
    each = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits), axis=[2, 3])
    count = tf.reduce_sum(tf.cast(positive, tf.float32))
    return tf.reduce_sum(tf.where(positive, each, 0.0)) / tf.maximum(count, 1.0)
