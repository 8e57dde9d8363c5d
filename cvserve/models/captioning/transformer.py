"""transformer: self-attention over the words so far, attention over the image's grid (Vaswani et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from cvserve.errors import InvalidInput
from cvserve.models.captioning.captioner import Captioner, captioner
from cvserve.models.captioning.encoder import grid_encoder
from cvserve.models.captioning.transformer_decoder import Activation, Positions, TransformerDecoder
from cvserve.models.options import check_choice, check_fraction, check_whole
from cvserve.models.registry import ModelEntry, Paper, register


def transformer(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    length: int = 24,
    weights: str | None = None,
    backbone: str = "resnet18",
    backbone_options: Mapping[str, Any] | None = None,
    stride: int = 16,
    channels: int = 128,
    places: bool = True,
    width: int = 128,
    depth: int = 2,
    heads: int = 4,
    hidden: int = 512,
    positions: Positions = "learned",
    activation: Activation = "relu",
    dropout: float = 0.1,
) -> Captioner:
    """Builds the network.

    Args:
        num_classes: size of the vocabulary. length: ids of a sentence with <start> and <end>.
        weights: "imagenet" (backbones of keras.applications, vgg16), a file, or None.
        backbone, backbone_options, stride, channels, places: of `grid_encoder`.
        width, depth, heads, hidden, positions, activation, dropout: of `TransformerDecoder`; the paper's base model has
            512, 6, 8, 2048, "sinusoidal", "relu" and 0.1.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    check_whole("transformer", width=(width, 2), depth=(depth, 1), heads=(heads, 1), hidden=(hidden, 2))
    check_choice(
        "transformer", positions=(positions, get_args(Positions)), activation=(activation, get_args(Activation))
    )
    check_fraction("transformer", dropout=dropout)
    if width % heads or width % 2:
        raise InvalidInput(f"transformer needs an even width that is a multiple of its {heads} heads, not {width}")
    encoder = grid_encoder(
        "transformer",
        image_size,
        backbone=backbone,
        options=backbone_options,
        weights=weights,
        stride=stride,
        channels=channels,
        places=places,
    )
    decoder = TransformerDecoder(
        num_classes,
        length,
        width=width,
        depth=depth,
        heads=heads,
        hidden=hidden,
        positions=positions,
        activation=activation,
        dropout=dropout,
        name="decoder",
    )
    return captioner(encoder, decoder, weights, name="transformer")


register(
    ModelEntry(
        "captioning",
        "transformer",
        transformer,
        128,
        "self-attention over words, attention over the image's grid",
        Paper("Attention Is All You Need", "Vaswani et al.", 2017, "1706.03762"),
        parameters=3_953_728,
    )
)
