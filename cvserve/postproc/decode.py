"""A graph's outputs to typed results, by the manifest's task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cvserve.artifact import ClassificationPostproc, Task
from cvserve.errors import InvalidInput
from cvserve.postproc.captioning import decode_captioning
from cvserve.postproc.classification import class_scores, decode_classification
from cvserve.postproc.contract import Contract
from cvserve.postproc.encoded import check_mask_format
from cvserve.postproc.results import Result
from cvserve.postproc.segmentation import decode_segmentation

if TYPE_CHECKING:
    from cvserve.preproc import Geometry


@dataclass(frozen=True)
class Options:
    """What a request asks of its results; None takes the manifest's. A task ignores what it has no use for.

    top_k: how many classes an image (classification), at least 1.
    score_threshold: the least score of an object (detection), 0 to 1.
    max_results: how many objects an image (detection) or sentences (captioning), at least 1.
    mask_format: how masks are written or sent, one of `cvserve.postproc.MASK_FORMATS`; None is "png" for class maps and
    "rle" for those of objects. Decoding has one use for it: with "none", objects are given without their masks.

    Raises:
        InvalidInput: a value that makes no sense.
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


AS_IT_IS = Options()
"""Everything as the manifest says."""


def decode_outputs(
    outputs: Mapping[str, np.ndarray],
    geometries: Sequence[Geometry],
    manifest: Contract,
    options: Options = AS_IT_IS,
) -> list[Result]:
    """One typed result an image, in order.

    Args:
        outputs: the graph's outputs by name, batch first.
        geometries: how each image of the batch was resized, B of them.
        wishes: what the results are to hold.

    Raises:
        InvalidInput: another number of geometries than images.
        ArtifactError: the outputs are not what the manifest says.
    """
    return _DECODERS[manifest.task](outputs, geometries, manifest, options)


def _classification(
    outputs: Mapping[str, np.ndarray], geometries: Sequence[Geometry], manifest: Contract, options: Options
) -> list[Result]:
    scores = class_scores(outputs, manifest)
    if len(scores) != len(geometries):
        raise InvalidInput(f"the graph answered for {len(scores)} images, {len(geometries)} were given")
    return list(
        decode_classification(scores, manifest.labels, options.top_k or ClassificationPostproc.of(manifest).top_k)
    )


def _detection(
    outputs: Mapping[str, np.ndarray], geometries: Sequence[Geometry], manifest: Contract, options: Options
) -> list[Result]:
    # At the point of use: it loads OpenCV, which the client does without.
    from cvserve.postproc.detection import decode_detection

    return list(
        decode_detection(
            outputs,
            geometries,
            manifest,
            score_threshold=options.score_threshold,
            max_results=options.max_results,
            masks=options.mask_format != "none",
        )
    )


def _segmentation(
    outputs: Mapping[str, np.ndarray], geometries: Sequence[Geometry], manifest: Contract, options: Options
) -> list[Result]:
    return list(decode_segmentation(outputs, geometries, manifest))


def _captioning(
    outputs: Mapping[str, np.ndarray], geometries: Sequence[Geometry], manifest: Contract, options: Options
) -> list[Result]:
    return list(decode_captioning(outputs, manifest, max_results=options.max_results, geometries=geometries))


_Decoder = Callable[[Mapping[str, np.ndarray], Sequence["Geometry"], Contract, Options], list[Result]]
_DECODERS: dict[Task, _Decoder] = {
    "classification": _classification,
    "detection": _detection,
    "captioning": _captioning,
    "segmentation": _segmentation,
}
