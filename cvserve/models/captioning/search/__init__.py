"""Searches sentences inside the graph, by loops that SavedModel, ONNX and TFLite all support.

found.py      what a search gives
allowed.py    which tokens may follow
chosen.py     one token after the other: greedy and sampling
beam.py       several beginnings at a time
"""

from __future__ import annotations

import tensorflow as tf

from cvserve.artifact import Decoding
from cvserve.models.captioning.decoder import CaptionDecoder
from cvserve.models.captioning.search.beam import beam_search
from cvserve.models.captioning.search.chosen import greedy_search, sampling_search
from cvserve.models.captioning.search.found import Found

__all__ = ["Found", "search"]


def search(decoder: CaptionDecoder, features: tf.Tensor, decoding: Decoding) -> Found:
    """Searches the sentences of images.

    Args:
        decoder: built. features: float [B, L, C]; B may be open, L and C not.
    """
    if decoding.method == "beam":
        return beam_search(decoder, features, decoding)
    if decoding.method == "sampling":
        return sampling_search(decoder, features, decoding)
    return greedy_search(decoder, features, decoding)
