"""Whether a written graph answers as the network that it was made from: over real pictures, through its own runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cvserve.artifact import Manifest, Parity
from cvserve.errors import CvserveError, ExportError
from cvserve.postproc import class_scores
from cvserve.runtimes import Runtime

LIMITS = {"float32": 1e-4}
"""Largest allowed difference of a probability, by precision (float32 formats differ by about 1e-6)."""

BATCHES = (1, 8)
"""Sizes at which every graph is run: a wrong batch dimension shows only beyond 1."""

_ALONE = 16
"""Pictures that are also run one by one."""


def check_parity(
    runtime: Runtime,
    images: np.ndarray,
    names: Sequence[str],
    expected: Mapping[str, np.ndarray],
    manifest: Manifest,
    *,
    what: str,
    limit: float,
) -> Parity:
    """Runs the pictures at batch sizes 1 and 8 and compares probabilities with the network's.

    Args:
        runtime: the written graph, opened.
        images: uint8 [N, H, W, 3].
        names: what to call each picture.
        expected: the network's own outputs [N, ...] by name.
        manifest: says what the outputs mean.
        what: what errors call the graph ("onnx").
        limit: of the largest difference.

    Raises:
        ExportError: a picture's answer is farther away, or the graph does not run.
    """
    wanted = class_scores(expected, manifest)
    largest, agreeing = 0.0, np.ones(len(images), bool)
    for batch in BATCHES:
        pictures = images[:_ALONE] if batch == 1 else images
        try:
            got = class_scores(_run(runtime, pictures, manifest.input.name, batch), manifest)
        except CvserveError as error:
            raise ExportError(f"the exported {what} graph does not run with batches of {batch}: {error}") from error
        differences = np.abs(got - wanted[: len(pictures)]).max(axis=1)
        worst = int(np.argmax(np.where(np.isnan(differences), np.inf, differences)))
        if not differences[worst] <= limit:
            raise ExportError(
                f"the exported {what} graph answers differently: a probability of {names[worst]} is "
                f"{differences[worst]:.3g} away from the network's (batches of {batch}, limit {limit:g}); "
                "nothing was published"
            )
        largest = max(largest, float(differences[worst]))
        agreeing[: len(pictures)] &= same_class(got, wanted[: len(pictures)])
    return Parity(images=len(images), max_abs_difference=largest, agreement=float(agreeing.mean()), limit=limit)


def same_class(got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """bool [N]: whether the best class of each row of [N, C] is the same."""
    return np.asarray(got.argmax(axis=1) == wanted.argmax(axis=1))


def _run(runtime: Runtime, images: np.ndarray, name: str, batch: int) -> dict[str, np.ndarray]:
    parts = [runtime.run({name: images[start : start + batch]}) for start in range(0, len(images), batch)]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
