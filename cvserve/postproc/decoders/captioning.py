"""Turns token ids into sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cvserve.artifact import CaptioningPostproc, Decoding
from cvserve.artifact.decoding import length_penalty
from cvserve.artifact.vocabulary import END, PAD, START
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.postproc.attention import attention_of
from cvserve.postproc.contract import Contract
from cvserve.postproc.results import CaptionResult, ScoredCaption
from cvserve.text import decode

if TYPE_CHECKING:
    from cvserve.postproc.decode import Options
    from cvserve.preproc import Geometry


def decode_captioning(
    outputs: Mapping[str, np.ndarray],
    manifest: Contract,
    *,
    max_results: int | None = None,
    geometries: Sequence[Geometry] | None = None,
) -> list[CaptionResult]:
    """Returns one result an image.

    Args:
        outputs: the graph's outputs by name: of role token_ids, integers [B, T], or [B, K, T] of K sentences an image;
            of role log_probability, [B] or [B, K]; maybe of role attention, [B, T, rows, columns] or [B, K, ...].
        max_results: sentences an image; None takes the manifest's number.
        geometries: how each image of the batch was resized; with them, results have the attention of the best.

    Several sentences of an image are put into the order in which they were searched, by log probability over the
    length penalty of the manifest's `decoding`.

    Raises:
        ArtifactError: the outputs are not what the manifest says. InvalidInput: another number of geometries.
    """
    ids, scores = _of_role("token_ids", outputs, manifest), _of_role("log_probability", outputs, manifest)
    spec = CaptioningPostproc.of(manifest)
    vocabulary = spec.vocabulary
    if ids.ndim == 2:
        ids = ids[:, None]
    scores = scores.reshape(len(scores), -1)
    if ids.ndim != 3 or ids.shape[:2] != scores.shape:
        raise ArtifactError(
            f"{manifest.name}: token ids {list(ids.shape)} do not fit log probabilities {list(scores.shape)}"
        )
    if geometries is not None and len(geometries) != len(ids):
        raise InvalidInput(f"the graph answered for {len(ids)} images, {len(geometries)} were given")
    if np.isnan(scores).any():
        raise ArtifactError(f"{manifest.name}: the graph gave log probabilities that are not numbers (NaN)")
    most = spec.max_results if max_results is None else max_results
    results = []
    maps = None if geometries is None else _maps(outputs, manifest, ids)
    for number, (sentences, own) in enumerate(zip(ids, scores.tolist(), strict=True)):
        penalties = _penalties(sentences, spec.decoding)
        ranks = [score / penalty for score, penalty in zip(own, penalties, strict=True)]
        best_first = sorted(range(len(own)), key=lambda place: -ranks[place])[:most]
        try:
            texts = [decode(sentences[place], vocabulary) for place in best_first]
        except InvalidInput as error:
            raise ArtifactError(f"{manifest.name}: the graph gave a token that is none: {error}") from error
        attention = None
        if maps is not None and geometries is not None:
            first = best_first[0]
            attention = attention_of(
                sentences[first], maps[number, first], vocabulary, geometries[number], manifest.preproc
            )
        captions = tuple(ScoredCaption(text, own[place]) for text, place in zip(texts, best_first, strict=True))
        results.append(CaptionResult(captions, attention))
    return results


def _maps(outputs: Mapping[str, np.ndarray], manifest: Contract, ids: np.ndarray) -> np.ndarray | None:
    """Returns the attention [B, K, T, rows, columns] of ids [B, K, T], or None if the graph gives none."""
    if manifest.output("attention") is None:
        return None
    maps = _of_role("attention", outputs, manifest)
    alone = (ids.shape[0], ids.shape[2]) if ids.shape[1] == 1 else ids.shape
    if maps.shape[:-2] not in (ids.shape, alone) or maps.dtype.kind != "f":
        raise ArtifactError(
            f"{manifest.name}: attention {maps.dtype} {list(maps.shape)} does not fit token ids {list(ids.shape)}"
        )
    return maps.reshape(*ids.shape, *maps.shape[-2:])


def _penalties(sentences: np.ndarray, decoding: Decoding | None) -> list[float]:
    """Returns the numbers by which the log probabilities of sentences, int [K, T], are divided for comparing them."""
    if decoding is None or not decoding.length_penalty:
        return [1.0] * len(sentences)
    tokens = [_count(ids) for ids in sentences.tolist()]
    return [length_penalty(float(count), decoding.length_penalty) for count in tokens]


def _count(ids: list[int]) -> int:
    """Returns the number of tokens of a sentence with its <end>, without <start>."""
    sentence = ids[: ids.index(END) + 1] if END in ids else ids
    return sum(number not in (PAD, START) for number in sentence)


def _of_role(role: str, outputs: Mapping[str, np.ndarray], manifest: Contract) -> np.ndarray:
    spec = manifest.output(role)
    if spec is None:
        raise ArtifactError(f"{manifest.name}: it has no output of role {role}")
    if spec.name not in outputs:
        raise ArtifactError(f"{manifest.name}: the graph has no output {spec.name!r}, only {sorted(outputs)}")
    values = outputs[spec.name]
    if role == "token_ids" and values.dtype.kind not in "iu":
        raise ArtifactError(f"{manifest.name}: token ids are whole numbers, not {values.dtype}")
    return values


def _decode(
    outputs: Mapping[str, np.ndarray], geometries: Sequence[Geometry], manifest: Contract, options: Options
) -> list[CaptionResult]:
    return decode_captioning(outputs, manifest, max_results=options.max_results, geometries=geometries)


DECODER = _decode
