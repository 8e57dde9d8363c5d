"""Compares a written graph with the network that it was made from, on real images, in its own runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cvserve.artifact import TASK_SPECS, Parity
from cvserve.errors import CvserveError, ExportError
from cvserve.export.comparison.base import Comparison
from cvserve.runtimes import Runtime

BATCHES = (1, 8)
"""Batch sizes at which every graph is run: a wrong batch dimension shows only above 1."""

_SINGLE_IMAGES = 16
"""How many images are also run one by one."""


@dataclass(frozen=True)
class ParityImages:
    """Holds the images on which graphs are compared with the network.

    Args:
        pixels: uint8 RGB [N, H, W, 3].
        names: what errors call each image.
        expected: the network's own outputs [N, ...] by name.
    """

    pixels: np.ndarray
    names: Sequence[str]
    expected: Mapping[str, np.ndarray]


def check_parity(runtime: Runtime, images: ParityImages, comparison: Comparison, *, what: str) -> Parity:
    """Runs the images at batch sizes 1 and 8 and compares the answers with the network's.

    Args:
        runtime: the written graph, opened; it has one input.
        comparison: of the model's task.
        what: what errors call the graph ("the exported onnx graph").

    Raises:
        ExportError: an answer differs by more than the limit, or the graph does not run.
    """
    names = images.names
    parts, agreeing = [], np.ones(len(names), bool)
    for batch in BATCHES:
        count = min(_SINGLE_IMAGES, len(names)) if batch == 1 else len(names)
        try:
            outputs = _run(runtime, images.pixels[:count], batch)
            part = comparison.compare(outputs, {name: values[:count] for name, values in images.expected.items()})
        except CvserveError as error:
            raise ExportError(f"{what} does not run with batches of {batch}: {error}") from error
        worst = int(np.argmax(np.where(np.isnan(part.differences), np.inf, part.differences)))
        if not part.differences[worst] <= comparison.limit:
            raise ExportError(
                f"{what} answers differently: {comparison.what} of {names[worst]} is "
                f"{part.differences[worst]:.3g} away from the network's (batches of {batch}, limit "
                f"{comparison.limit:g}); nothing was published"
            )
        agreeing[:count] &= part.agreeing
        parts.append(part)
    parity = TASK_SPECS[comparison.manifest.task].parity(
        images=len(names),
        max_abs_difference=max(float(part.differences.max()) for part in parts),
        agreement=float(agreeing.mean()),
        limit=comparison.limit,
        **comparison.figures(parts),
    )
    if not parity.holds:
        raise ExportError(
            f"{what} answers differently: {parity.fault}, the first time in {names[int(np.argmin(agreeing))]}; "
            "nothing was published"
        )
    return parity


def _run(runtime: Runtime, images: np.ndarray, batch: int) -> dict[str, np.ndarray]:
    """Returns the answers [N, ...] by name to images uint8 [N, H, W, 3], run `batch` at a time."""
    [name] = runtime.inputs
    parts = [runtime.run({name: images[start : start + batch]}) for start in range(0, len(images), batch)]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
