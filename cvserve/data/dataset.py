"""The one door to all sources of labelled images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError

from cvserve.artifact.specs import TASKS, Task
from cvserve.data.readers.caption_folder import open_caption_folder
from cvserve.data.readers.class_folder import ImageFolder
from cvserve.data.readers.detection_folder import open_detection_folder
from cvserve.data.readers.segmentation_folder import open_segmentation_folder
from cvserve.data.readers.splitting import SPLITS, Shares
from cvserve.data.scenes import Scenes, ScenesOptions
from cvserve.data.source import Dataset, Source
from cvserve.errors import InvalidInput

__all__ = ["Dataset", "Source", "open_dataset", "same_data"]

SCENES = "scenes"


def open_dataset(
    data: str | Path,
    split: str = "train",
    *,
    task: Task = "classification",
    classes: Sequence[str] | None = None,
    shares: Shares | None = None,
) -> Any:
    """Opens one split of a folder of images or of generated scenes.

    Args:
        data: a folder (see `ImageFolder`; for detection `cvserve.data.readers.detection_folder`, for
            segmentation `cvserve.data.readers.segmentation_folder`, for captioning
            `cvserve.data.readers.caption_folder`), or "scenes",
            "scenes:classification" or "scenes:classification?count=600&seed=1&image_size=64" (see `ScenesOptions`). A
            folder that is really called "scenes" is written "./scenes".
        split: "train", "val" or "test"; a folder without splits also has "all".
        task: what the folder or the scenes are for; scenes that say their task themselves stay with it.
        classes: label order of a trained model, which the data must fit; None takes it from the data.
        shares: of the sides into which a folder without splits is divided.

    Returns:
        A `Dataset`; a `cvserve.data.objects.DetectionSource` for detection, a
        `cvserve.data.masks.SegmentationSource` for segmentation, a `cvserve.data.captions.CaptionSource` for
        captioning, where `classes` say nothing.

    Raises:
        NotFound, InvalidInput: the data is not there or not usable.

    Example:
        train = open_dataset("photos/", "train")
        print(train.describe(), train.classes[train.label(0)])
    """
    if task == "captioning":
        classes = None
    if isinstance(data, str) and _is_scenes(data):
        return _open_scenes(data, split, task, classes)
    if task == "detection":
        return open_detection_folder(data, split, classes=classes, shares=shares)
    if task == "segmentation":
        return open_segmentation_folder(data, split, classes=classes, shares=shares)
    if task == "captioning":
        return open_caption_folder(data, split, shares=shares)
    return ImageFolder(data, shares=shares, classes=classes).split(split)


def same_data(one: str, other: str) -> bool:
    """Whether two values of `open_dataset`'s data mean the same: "photos", "photos/" and "./photos" do."""
    if _is_scenes(one) or _is_scenes(other):
        return one == other
    return os.path.abspath(one) == os.path.abspath(other)


def _is_scenes(data: str) -> bool:
    return data == SCENES or data.startswith((f"{SCENES}:", f"{SCENES}?"))


def _open_scenes(data: str, split: str, task: Task, classes: Sequence[str] | None) -> Scenes:
    head, _, query = data.partition("?")
    named = head[len(SCENES) :].lstrip(":")
    if named and named not in TASKS:
        raise InvalidInput(f"{data}: there are no scenes for {named!r}; the tasks are {', '.join(TASKS)}")
    if split not in SPLITS:
        raise InvalidInput(f"{data}: there is no split {split!r}; scenes have {', '.join(SPLITS)}")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        options = ScenesOptions.model_validate(dict(pairs))
    except ValidationError as error:
        fault = error.errors()[0]
        option = ".".join(str(part) for part in fault["loc"])
        known = ", ".join(ScenesOptions.model_fields)
        raise InvalidInput(f"{data}: option {option!r}: {fault['msg']}; the options are {known}") from error
    except ValueError as error:
        raise InvalidInput(f"{data}: options are written as ?count=600&seed=1") from error
    scenes = options.open(split, next((known for known in TASKS if known == named), task))
    if classes is not None and tuple(classes) != scenes.classes:
        raise InvalidInput(
            f"{data}: the classes of the scenes are {', '.join(scenes.classes)}, but those asked for are "
            f"{', '.join(classes)}"
        )
    return scenes
