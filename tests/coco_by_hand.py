"""COCO's scores of written files by pycocotools alone, as its own demonstration does it."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path


def by_hand(expected: Path, found: Path, category: int | None = None, kind: str = "bbox") -> list[float]:
    """COCO's twelve numbers, of boxes or ("segm") of masks; of one category, if it is given."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO(str(expected))
        scored = COCOeval(ground_truth, ground_truth.loadRes(str(found)), kind)
        if category is not None:
            scored.params.catIds = [category]
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return list(scored.stats.tolist())
