"""The one door to folders of images with boxes, whatever their layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cvserve.data.readers import coco, voc
from cvserve.data.readers import yolo as yolo_txt
from cvserve.data.readers.annotated import AnnotatedSplit
from cvserve.data.readers.boxes import log_boxes
from cvserve.data.readers.splits import open_side
from cvserve.data.readers.splitting import Shares
from cvserve.errors import InvalidInput, NotFound


def open_detection_folder(
    folder: str | Path, split: str, *, classes: Sequence[str] | None = None, shares: Shares | None = None
) -> AnnotatedSplit:
    """One split of a folder with boxes, whose layout (Pascal VOC, COCO or YOLO) is recognised.

    Boxes that cannot be used are left out, and those that reach out of their images are clipped; both are reported
    (log "cvserve.data.readers.boxes", and `dropped` and `clipped` of the split).

    Args:
        split: "train", "val" or "test"; "all" of a data set in one piece.
        classes: label order of a trained model, which the data must fit; None takes it from train.
        shares: of the sides that are divided off by contents; see `cvserve.data.readers.splits.open_side`.

    Raises:
        NotFound: no such folder or split. InvalidInput: no layout that is known, or a file that cannot be used.
    """
    root = Path(folder)
    if not root.exists():
        raise NotFound(f"{root}: there is no such folder")
    if not root.is_dir():
        raise InvalidInput(f"{root} is a file; a folder of images with boxes is needed")
    for find in (voc.find_voc, coco.find_coco, yolo_txt.find_yolo):
        sides = find(root, classes)
        if sides is not None:
            opened = open_side(sides, split, shares)
            log_boxes(f"{opened.origin} {opened.split}", opened.dropped, opened.clipped)
            return opened
    raise InvalidInput(
        f"{root}: no annotations of boxes were found; looked for {voc.LOOKED_FOR}; {coco.LOOKED_FOR}; "
        f"{yolo_txt.LOOKED_FOR}"
    )
