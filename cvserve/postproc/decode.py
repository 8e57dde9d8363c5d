"""Turns a graph's outputs into typed results, by the table of the tasks' decoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cvserve.errors import InvalidInput
from cvserve.postproc.contract import Contract
from cvserve.postproc.mask_formats import check_mask_format
from cvserve.postproc.results import Result
from cvserve.tasks import TaskTable

if TYPE_CHECKING:
    from cvserve.preproc import Geometry


@dataclass(frozen=True)
class Options:
    """Holds the options of a request; None takes the manifest's setting. Each task reads its own fields alone.

    top_k: how many classes an image (classification), at least 1.
    score_threshold: the least score of an object (detection), 0 to 1.
    max_results: how many objects an image (detection) or sentences (captioning), at least 1.
    mask_format: how masks are written or sent, one of `cvserve.postproc.MASK_FORMATS`; None is "png" for class maps and
    "rle" for those of objects. Decoding reads it only for objects: with "none" they come without their masks.

    Raises:
        InvalidInput: a value out of its range.
    """

    top_k: int | None = None
    score_threshold: float | None = None
    max_results: int | None = None
    mask_format: str | None = None

    def __post_init__(self) -> None:
        for name in ("top_k", "max_results"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput(f"{name} must be at least 1, not {value}")
        if self.score_threshold is not None and not 0 <= self.score_threshold <= 1:
            raise InvalidInput(f"score_threshold must be from 0 to 1, not {self.score_threshold}")
        if self.mask_format is not None:
            check_mask_format(self.mask_format)


DEFAULT_OPTIONS = Options()
"""Options that take every setting from the manifest."""


Decoder = Callable[[Mapping[str, np.ndarray], Sequence["Geometry"], Contract, Options], Sequence[Result]]
"""A task's decoder: has the arguments and the result of `decode_outputs`."""

DECODERS: TaskTable[Decoder] = TaskTable("cvserve.postproc.decoders", "DECODER", what="decoder")


def decode_outputs(
    outputs: Mapping[str, np.ndarray],
    geometries: Sequence[Geometry],
    manifest: Contract,
    options: Options = DEFAULT_OPTIONS,
) -> list[Result]:
    """Returns one typed result an image, in order.

    Args:
        outputs: the graph's outputs by name, batch first.
        geometries: how each image of the batch was resized, B of them.
        options: what the results are to hold.

    Raises:
        InvalidInput: another number of geometries than images.
        ArtifactError: the outputs are not what the manifest says.
    """
    return list(DECODERS[manifest.task](outputs, geometries, manifest, options))
