"""What every captioning network comes with: how it answers, and what it is trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from cvserve.errors import InvalidInput
from cvserve.models.backbones.weights import fill_network
from cvserve.models.captioning.captions import Captions
from cvserve.models.captioning.decoder import CaptionDecoder, Taught
from cvserve.models.captioning.encoder import Encoder
from cvserve.models.registry import ModelEntry, find, register, sized


@dataclass(frozen=True)
class Captioner:
    """A captioning network with what its loss is made from.

    network: uint8 images [B, H, W, 3] to what `Captions` gives. It is what is saved and exported.
    encoder: images to features [B, L, C], row by row of a grid. decoder: what the network searches with.
    backbone, head: the two parts of the encoder, of which the first may have been trained before.
    grid: rows and columns, whose product is L.
    """

    network: keras.Model
    encoder: keras.Model
    decoder: CaptionDecoder
    backbone: keras.Model
    head: keras.Model
    grid: tuple[int, int]

    def taught(self, features: tf.Tensor, tokens: tf.Tensor, training: bool = False) -> Taught:
        """Teacher forcing.

        Args:
            features: of the encoder. tokens: int32 [B, T]; the last of them, which nothing follows, is not looked at.

        Returns:
            logits float32 [B, T - 1, V] of tokens[:, 1:], attention float32 [B, T - 1, L] or None.
        """
        return self.decoder.taught(features, tokens[:, :-1], training=training)

    def logits(self, images: tf.Tensor, tokens: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Images and sentences as of `taught` to its logits."""
        return self.taught(self.encoder(images, training=training), tokens, training=training).logits


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
    whole = keras.Model(images, features, name=f"{name}_encoder")
    return Captioner(network, whole, decoder, encoder.backbone, encoder.head, encoder.grid)


_builders: dict[str, Callable[..., Captioner]] = {}


def register_captioner(name: str, builder: Callable[..., Captioner], image_size: int, summary: str) -> None:
    """Adds a captioning network. builder: called with num_classes, the size of the vocabulary, image_size (height,
    width), weights, maybe length, and the network's own options."""
    _builders[name] = builder

    def network(**options: Any) -> keras.Model:
        return builder(**options).network

    register(ModelEntry("captioning", name, network, image_size, summary))


def create_captioner(
    name: str,
    *,
    num_tokens: int,
    length: int,
    image_size: int | tuple[int, int] | None = None,
    weights: str | None = None,
    **options: Any,
) -> Captioner:
    """Builds a captioning network.

    Args:
        num_tokens: size of the vocabulary, special tokens included. length: ids of a sentence, <start> and <end>
            included; see `cvserve.artifact.vocabulary`.
        image_size, weights, options: as of `create_model`.

    Raises:
        InvalidInput: an unknown name, option or size, or weights that do not fit.
    """
    entry = find("captioning", name)
    if num_tokens < 5:
        raise InvalidInput(f"a captioning model has four special tokens and at least one more, not {num_tokens} in all")
    return sized(
        entry,
        _builders[name],
        num_classes=num_tokens,
        image_size=image_size,
        weights=weights,
        options={"length": length, **options},
    )
