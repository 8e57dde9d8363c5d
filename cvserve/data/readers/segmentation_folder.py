"""The one door to folders of images with label maps, whatever their layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cvserve.data.readers import coco, coco_masks, mask_folder
from cvserve.data.readers.masked import MaskedSplit
from cvserve.data.readers.splits import open_side
from cvserve.data.readers.splitting import Shares
from cvserve.errors import InvalidInput, NotFound


def open_segmentation_folder(
    folder: str | Path, split: str, *, classes: Sequence[str] | None = None, shares: Shares | None = None
) -> MaskedSplit:
    """One split of a folder with label maps, whose layout (mask files, Pascal VOC or COCO) is recognised.

    Args:
        split: "train", "val" or "test"; "all" of a data set in one piece.
        classes: label order of a trained model, which the data must fit; None takes it from the data.
        shares: of the sides that are divided off by contents; see `cvserve.data.readers.splits.open_side`.

    Raises:
        NotFound: no such folder or split. InvalidInput: no layout that is known, or a file that cannot be used.
    """
    root = Path(folder)
    if not root.exists():
        raise NotFound(f"{root}: there is no such folder")
    if not root.is_dir():
        raise InvalidInput(f"{root} is a file; a folder of images with masks is needed")
    for find in (mask_folder.find_mask_folder, coco_masks.find_coco_masks):
        sides = find(root, classes)
        if sides is not None:
            return open_side(sides, split, shares)
    raise InvalidInput(f"{root}: no masks were found; looked for {mask_folder.LOOKED_FOR}; {coco.LOOKED_FOR}")
