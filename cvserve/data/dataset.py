"""Opens sources of labelled images: folders and generated scenes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvserve.data.readers.folder import open_folder
from cvserve.data.scenes.options import names_scenes, open_scenes
from cvserve.data.source import Dataset, Source
from cvserve.data.splits import SplitFractions

__all__ = ["Dataset", "Source", "open_dataset", "same_data"]


def open_dataset(
    data: str | Path,
    split: str = "train",
    *,
    task: str = "classification",
    classes: Sequence[str] | None = None,
    fractions: SplitFractions | None = None,
) -> Any:
    """Opens one split of a folder of images or of generated scenes.

    Args:
        data: a folder in a layout of `cvserve.data.readers`; or "scenes", "scenes:classification" or
            "scenes:classification?count=600&seed=1" (see `cvserve.data.scenes.options`). A folder that is really
            called "scenes" is written "./scenes".
        split: "train", "val" or "test"; a folder without splits also has "all".
        task: what the folder or the scenes are for; scenes that name their task themselves keep it.
        classes: label order of a trained model, which the data must fit; None takes it from the data. Data sets for
            captioning have no classes and ignore it.
        fractions: of the splits into which a folder without splits is divided.

    Returns:
        The split, as the task's source in `cvserve.data.source`: a `Dataset` for classification, a `DetectionSource`,
        a `SegmentationSource`, or a `CaptionSource`.

    Raises:
        NotFound, InvalidInput: the data does not exist or cannot be used.

    Example:
        train = open_dataset("photos/", "train")
        print(train.describe(), train.classes[train.label(0)])
    """
    if isinstance(data, str) and names_scenes(data):
        return open_scenes(data, split, task=task, classes=classes)
    return open_folder(data, split, task=task, classes=classes, fractions=fractions)


def same_data(one: str, other: str) -> bool:
    """Returns whether two values of `open_dataset`'s data mean the same: "photos", "photos/" and "./photos" do."""
    if names_scenes(one) or names_scenes(other):
        return one == other
    return os.path.abspath(one) == os.path.abspath(other)
