"""Searches sentences inside the graph, by loops that SavedModel, ONNX and TFLite all support.

sentences.py        the result of a search
allowed.py          which tokens may follow
token_by_token.py   one token after the other: greedy search and sampling
beam.py             several beginnings at a time
"""

from __future__ import annotations

import tensorflow as tf

from cvserve.artifact import Decoding
from cvserve.models.captioning.decoder import CaptionDecoder
from cvserve.models.captioning.search.beam import beam_search
from cvserve.models.captioning.search.sentences import Sentences
from cvserve.models.captioning.search.token_by_token import greedy_search, sampling_search

__all__ = ["Sentences", "search"]


def search(decoder: CaptionDecoder, features: tf.Tensor, decoding: Decoding) -> Sentences:
    """Searches the sentences of images.

    Args:
        decoder: built. features: float [B, L, C]; B may be open, L and C not.
    """
    if decoding.method == "beam":
        return beam_search(decoder, features, decoding)
    if decoding.method == "sampling":
        return sampling_search(decoder, features, decoding)
    return greedy_search(decoder, features, decoding)
