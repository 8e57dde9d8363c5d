"""Builds the outputs and the loss that all captioning networks share."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import tensorflow as tf

from cvserve.models.backbones.weights import fill_network
from cvserve.models.captioning.captions import Captions
from cvserve.models.captioning.decoder import CaptionDecoder, TeacherForced
from cvserve.models.captioning.encoder import Encoder
from cvserve.models.captioning.losses import attention_penalty as penalty_of
from cvserve.models.captioning.losses import caption_cross_entropy
from cvserve.models.registry import Built


@dataclass(frozen=True)
class Captioner(Built):
    """Holds a captioning network and its parts.

    network: uint8 images [B, H, W, 3] to the outputs of `Captions`. It is what is saved and exported.
    loss: of images and sentences int32 [B, T], each <start>, tokens, <end> and <pad>. Its settings: `smoothing`, see
    `caption_cross_entropy`; `attention_penalty`, the weight of that loss, 0 for none; `is_frozen`, a scalar bool tensor
    or None: where it is true, the backbone runs as in use and gets no gradient.
    encoder: images to features [B, L, C], row by row of a grid. decoder: what the network searches with.
    backbone, head: the two parts of the encoder, of which the first may have been trained before.
    grid: rows and columns, whose product is L.
    """

    encoder: keras.Model
    decoder: CaptionDecoder
    backbone: keras.Model
    head: keras.Model
    grid: tuple[int, int]

    def teacher_forced(self, features: tf.Tensor, tokens: tf.Tensor, training: bool = False) -> TeacherForced:
        """Computes the scores of each next token, given the true ones before it (teacher forcing).

        Args:
            features: of the encoder. tokens: int32 [B, T]; the last of them, which nothing follows, is not used.

        Returns:
            logits float32 [B, T - 1, V] of tokens[:, 1:], attention float32 [B, T - 1, L] or None.
        """
        return self.decoder.teacher_forced(features, tokens[:, :-1], training=training)

    def logits(self, images: tf.Tensor, tokens: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the logits of `teacher_forced` for images and sentences."""
        return self.teacher_forced(self.encoder(images, training=training), tokens, training=training).logits


def captioner(encoder: Encoder, decoder: CaptionDecoder, weights: str | None, *, name: str) -> Captioner:
    """Puts the search for a sentence behind an encoder, and fills the whole network from the file of a run.

    Args:
        weights: as the builder was given them; a backbone's own have been taken before.

    Raises:
        InvalidInput, NotFound: weights that cannot be used.
    """
    images = encoder.backbone.input
    features = encoder.head(encoder.backbone(images))
    network = keras.Model(images, Captions(decoder, encoder.grid, name="captions")(features), name=name)
    fill_network(network, weights, has_backbone=True)
    features_model = keras.Model(images, features, name=f"{name}_encoder")

    def loss(
        images: tf.Tensor,
        tokens: tf.Tensor,
        *,
        smoothing: float = 0.0,
        attention_penalty: float = 0.0,
        is_frozen: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        features = encoder.head(_backbone_map(encoder.backbone, images, is_frozen), training=True)
        teacher_forced = built.teacher_forced(features, tokens, training=True)
        parts = {"cross_entropy": caption_cross_entropy(teacher_forced.logits, tokens[:, 1:], smoothing)}
        if attention_penalty and teacher_forced.attention is not None:
            parts["attention"] = attention_penalty * penalty_of(teacher_forced.attention, tokens[:, 1:])
        return parts

    built = Captioner(network, None, loss, features_model, decoder, encoder.backbone, encoder.head, encoder.grid)
    return built


def _backbone_map(backbone: keras.Model, images: tf.Tensor, is_frozen: tf.Tensor | None) -> tf.Tensor:
    """Returns the backbone's map in training. A frozen backbone has no gradient and normalises as in use."""
    if is_frozen is None:
        return backbone(images, training=True)
    return tf.cond(
        is_frozen,
        lambda: tf.stop_gradient(backbone(images, training=False)),
        lambda: backbone(images, training=True),
    )
