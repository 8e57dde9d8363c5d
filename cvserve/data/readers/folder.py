"""Opens folders of labelled images in any known layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvserve.data.readers import (
    caption_rows,
    class_folder,
    coco_boxes,
    coco_captions,
    coco_label_maps,
    mask_folder,
    voc,
    yolo,
)
from cvserve.data.readers.base import Reader
from cvserve.data.splits import SplitFractions
from cvserve.errors import InvalidInput, NotFound

READERS: list[Reader] = [
    class_folder.READER,
    voc.READER,
    coco_boxes.READER,
    yolo.READER,
    mask_folder.READER,
    coco_label_maps.READER,
    coco_captions.READER,
    caption_rows.READER,
]
"""All readers. Of those of one task, the first that recognises a folder reads it."""


def open_folder(
    folder: str | Path,
    split: str,
    *,
    task: str,
    classes: Sequence[str] | None = None,
    fractions: SplitFractions | None = None,
) -> Any:
    """Opens one split of a folder whose layout one of `READERS` recognises.

    Annotations that cannot be used are left out, and boxes that reach out of their images are clipped; both are
    reported in the log of the module that found them, and in `dropped` and `clipped` of the split.

    Args:
        split: "train", "val" or "test"; "all" of a data set that is not divided on disk.
        task: what the data set is for.
        classes: label order of a trained model, which the data must fit; None takes it from the data.
        fractions: of the splits that are divided by the images' contents; see `SplitFiles.open`.

    Returns:
        The split, as a source for the task; see `cvserve.data.source`.

    Raises:
        NotFound: there is no such folder or split.
        InvalidInput: no reader recognises the folder, or one of its files cannot be used.
    """
    root = Path(folder)
    if not root.exists():
        raise NotFound(f"{root}: there is no such folder")
    if not root.is_dir():
        raise InvalidInput(f"{root} is a file; a folder of images is needed")
    readers = [reader for reader in READERS if reader.task == task]
    if not readers:
        known = ", ".join(sorted({reader.task for reader in READERS}))
        raise InvalidInput(f"{root}: no reader opens folders for the task {task!r}; there are readers for {known}")
    for reader in readers:
        opener = reader.recognise(root, classes)
        if opener is not None:
            return opener.open(split, fractions)
    looked_for = "; ".join(reader.looked_for for reader in readers)
    raise InvalidInput(f"{root}: no data set for {task} was found; looked for {looked_for}")
