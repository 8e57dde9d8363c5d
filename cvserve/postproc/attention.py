"""Maps the attention of a captioning network, where it looked at each word, onto the original image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cvserve.artifact import PreprocSpec, Vocabulary
from cvserve.artifact.vocabulary import END, SPACE, SPECIAL
from cvserve.postproc.results import Attention

if TYPE_CHECKING:
    from cvserve.preproc import Geometry


def attention_of(
    token_ids: np.ndarray, maps: np.ndarray, vocabulary: Vocabulary, geometry: Geometry, preproc: PreprocSpec
) -> Attention:
    """Returns the attention of a sentence's words, placed on the original image.

    Args:
        token_ids: integers [T]. maps: float32 [T, rows, columns], one a token, over the whole of the graph's input.
        geometry, preproc: how the image became that input.
    """
    words: list[str] = []
    places: list[list[int]] = []
    for place, number in enumerate(token_ids.tolist()):
        if number == END:
            break
        if number < len(SPECIAL):
            continue
        piece = vocabulary.tokens[number]
        if words and vocabulary.kind == "subwords" and not piece.startswith(SPACE):
            words[-1] += piece
            places[-1].append(place)
        else:
            words.append(piece.removeprefix(SPACE))
            places.append([place])
    seen = np.stack([maps[own].mean(axis=0) for own in places]) if words else np.zeros((0, *maps.shape[1:]), maps.dtype)
    corners = [
        ((0, preproc.width), geometry.offset_x, geometry.scale_x),
        ((0, preproc.height), geometry.offset_y, geometry.scale_y),
    ]
    (left, right), (top, bottom) = ([(edge - offset) / scale for edge in edges] for edges, offset, scale in corners)
    return Attention(tuple(words), seen.astype(np.float32), (left, top, right, bottom))
