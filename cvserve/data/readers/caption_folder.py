"""The one door to folders of images with captions, whatever their layout."""

from __future__ import annotations

from pathlib import Path

from cvserve.data.readers import caption_rows, coco_captions
from cvserve.data.readers.captioned import CaptionedSplit
from cvserve.data.readers.splits import open_side
from cvserve.data.readers.splitting import Shares
from cvserve.errors import InvalidInput, NotFound


def open_caption_folder(folder: str | Path, split: str, *, shares: Shares | None = None) -> CaptionedSplit:
    """One split of a folder with captions, whose layout (COCO, Flickr8k, Flickr30k, CSV) is recognised.

    Captions and images that cannot be used are left out, and reported (log "cvserve.data.readers.captioned", and
    `dropped`
    of the split).

    Args:
        split: "train", "val" or "test"; "all" of a data set in one piece.
        shares: of the sides that are divided off by contents; see `cvserve.data.readers.splits.open_side`.

    Raises:
        NotFound: no such folder or split. InvalidInput: no layout that is known, or a file that cannot be used.
    """
    root = Path(folder)
    if not root.exists():
        raise NotFound(f"{root}: there is no such folder")
    if not root.is_dir():
        raise InvalidInput(f"{root} is a file; a folder of images with captions is needed")
    for find in (coco_captions.find_coco_captions, caption_rows.find_caption_rows):
        sides = find(root)
        if sides is not None:
            return open_side(sides, split, shares)
    raise InvalidInput(
        f"{root}: no captions were found; looked for {coco_captions.LOOKED_FOR}; {caption_rows.LOOKED_FOR}"
    )
