"""A graph's outputs to typed results, by the manifest's task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cvserve.artifact import Manifest
from cvserve.errors import InvalidInput, Unimplemented
from cvserve.postproc.classification import class_scores, decode_classification
from cvserve.postproc.results import Result

if TYPE_CHECKING:
    from cvserve.preproc import Geometry


def decode_outputs(
    outputs: Mapping[str, np.ndarray],
    geometries: Sequence[Geometry],
    manifest: Manifest,
    *,
    top_k: int | None = None,
) -> list[Result]:
    """One typed result a picture, in order.

    Args:
        outputs: the graph's outputs by name, batch first.
        geometries: how each picture of the batch was resized, B of them.
        top_k: how many classes a picture (classification); None takes the manifest's.

    Raises:
        InvalidInput: top_k below 1, or another number of geometries than pictures.
        ArtifactError: the outputs are not what the manifest says.
        Unimplemented: a task that this version cannot decode.
    """
    if manifest.task == "classification":
        scores = class_scores(outputs, manifest)
        _check_batch(len(scores), len(geometries))
        return list(decode_classification(scores, manifest.labels, manifest.postproc.top_k if top_k is None else top_k))
    raise Unimplemented(f"{manifest.name}: results of {manifest.task} models cannot be decoded by this version")


def _check_batch(answers: int, pictures: int) -> None:
    if answers != pictures:
        raise InvalidInput(f"the graph answered for {answers} pictures, {pictures} were given")
