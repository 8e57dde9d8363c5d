"""Token ids to sentences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cvserve.errors import ArtifactError, InvalidInput
from cvserve.postproc.contract import Contract
from cvserve.postproc.results import CaptionResult, ScoredCaption
from cvserve.text import decode


def decode_captioning(
    outputs: Mapping[str, np.ndarray], manifest: Contract, *, max_results: int | None = None
) -> list[CaptionResult]:
    """One result a picture.

    Args:
        outputs: the graph's outputs by name: of role token_ids, integers [B, T], or [B, K, T] of K sentences a picture;
            of role log_probability, [B] or [B, K].
        max_results: sentences a picture; None takes the manifest's number.

    Raises:
        ArtifactError: the outputs are not what the manifest says.
    """
    ids, scores = _of_role("token_ids", outputs, manifest), _of_role("log_probability", outputs, manifest)
    vocabulary = manifest.postproc.vocabulary
    if vocabulary is None:
        raise ArtifactError(f"{manifest.name}: it has no vocabulary, without which token ids say nothing")
    if ids.ndim == 2:
        ids = ids[:, None]
    scores = scores.reshape(len(scores), -1)
    if ids.ndim != 3 or ids.shape[:2] != scores.shape:
        raise ArtifactError(
            f"{manifest.name}: token ids {list(ids.shape)} do not fit log probabilities {list(scores.shape)}"
        )
    if np.isnan(scores).any():
        raise ArtifactError(f"{manifest.name}: the graph gave log probabilities that are not numbers (NaN)")
    most = manifest.postproc.max_results if max_results is None else max_results
    results = []
    for sentences, own in zip(ids, scores.tolist(), strict=True):
        best_first = sorted(range(len(own)), key=lambda place: -own[place])[:most]
        try:
            texts = [decode(sentences[place], vocabulary) for place in best_first]
        except InvalidInput as error:
            raise ArtifactError(f"{manifest.name}: the graph gave a token that is none: {error}") from error
        results.append(
            CaptionResult(tuple(ScoredCaption(text, own[place]) for text, place in zip(texts, best_first, strict=True)))
        )
    return results


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
