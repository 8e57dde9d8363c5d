"""Opens generated scenes by a text such as "scenes:detection?count=600&seed=1"."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cvserve.data.scenes.generator import SCENE_TASKS, Scenes
from cvserve.data.splits import SPLITS
from cvserve.errors import InvalidInput

_PREFIX = "scenes"


class ScenesOptions(BaseModel):
    """Holds the options that may follow the question mark in "scenes:classification?count=600&seed=1".

    count: scenes in train. val_count, test_count: by default a quarter of count. seed, image_size: as in `Scenes`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(default=2400, ge=1)
    val_count: int | None = Field(default=None, ge=1)
    test_count: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    image_size: int | None = Field(default=None, ge=32, le=1024)

    def open(self, split: str, task: str) -> Scenes:
        """Returns the scenes of one split."""
        quarter = max(1, self.count // 4)
        counts = {"train": self.count, "val": self.val_count or quarter, "test": self.test_count or quarter}
        return Scenes(counts[split], self.seed, self.image_size, task, split)


def names_scenes(data: str) -> bool:
    """Returns whether a text names scenes and not a folder."""
    return data == _PREFIX or data.startswith((f"{_PREFIX}:", f"{_PREFIX}?"))


def open_scenes(data: str, split: str, *, task: str, classes: Sequence[str] | None = None) -> Scenes:
    """Opens one split of scenes.

    Args:
        data: "scenes", "scenes:classification" or "scenes:classification?count=600&seed=1", see `ScenesOptions`.
        split: "train", "val" or "test".
        task: of scenes that do not name their task.
        classes: label order of a trained model, which must be that of the scenes.

    Raises:
        InvalidInput: an unknown task, split or option, or other classes.
    """
    head, _, query = data.partition("?")
    own_task = head[len(_PREFIX) :].lstrip(":")
    if own_task and own_task not in SCENE_TASKS:
        raise InvalidInput(
            f"{data}: there are no scenes for {own_task!r}; the tasks are {', '.join(SCENE_TASKS.names())}"
        )
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
    scenes = options.open(split, own_task or task)
    if classes is not None and SCENE_TASKS[task].has_classes and tuple(classes) != scenes.classes:
        raise InvalidInput(
            f"{data}: the classes of the scenes are {', '.join(scenes.classes)}, but those asked for are "
            f"{', '.join(classes)}"
        )
    return scenes
