"""What every captioning network comes with: how it answers, and what it is trained on."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import tensorflow as tf

from cvserve.models.captioning.decoder import CaptionDecoder, Taught


@dataclass(frozen=True)
class Captioner:
    """A captioning network with what its loss is made from.

    network: uint8 images [B, H, W, 3] to {"token_ids": int32 [B, T], "log_probability": float32 [B]}, networks that
    attend also "attention": float32 [B, T, L]. It is what is saved and exported.
    encoder: images to features [B, L, C], row by row of a grid. decoder: what the network searches with.
    grid: rows and columns, whose product is L.
    """

    network: keras.Model
    encoder: keras.Model
    decoder: CaptionDecoder
    grid: tuple[int, int]

    def taught(self, images: tf.Tensor, tokens: tf.Tensor, training: bool = False) -> Taught:
        """Teacher forcing. tokens: int32 [B, T]; the last of them, which nothing follows, is not looked at.

        Returns:
            logits float32 [B, T - 1, V] of tokens[:, 1:], attention float32 [B, T - 1, L] or None.
        """
        return self.decoder.taught(self.encoder(images, training=training), tokens[:, :-1], training=training)

    def logits(self, images: tf.Tensor, tokens: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The logits of `taught`."""
        return self.taught(images, tokens, training=training).logits
