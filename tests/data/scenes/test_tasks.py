"""The table of scenes: a task is one module, and may come from outside."""

from __future__ import annotations

import numpy as np
import pytest

from cvserve.data import open_dataset
from cvserve.data.scenes import SCENE_TASKS, SHAPES, SceneTask
from cvserve.data.scenes.layout import several_objects
from cvserve.errors import InvalidInput
from cvserve.tasks import TaskTable


def test_every_task_has_scenes_of_its_own() -> None:
    numbers = [SCENE_TASKS[task].number for task in ("classification", "detection", "segmentation", "captioning")]
    assert numbers == [0, 1, 2, 3], "scenes made before would look different"


def test_classes_of_captions_are_not_checked() -> None:
    assert len(open_dataset("scenes?count=3", task="captioning", classes=["none"])) == 3
    with pytest.raises(InvalidInput, match="the classes of the scenes are circle"):
        open_dataset("scenes?count=3", task="detection", classes=["none"])


def test_a_task_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    table: TaskTable[SceneTask] = TaskTable("cvserve.data.scenes.tasks", "SCENE_TASK", what="generated data set")
    table.register("pairs", SceneTask(9, 48, lambda index, rng: several_objects(2, 2, rng), background="sky"))
    for module in ("generator", "options"):
        monkeypatch.setattr(f"cvserve.data.scenes.{module}.SCENE_TASKS", table)
    scenes = open_dataset("scenes:pairs?count=5")
    assert scenes.classes == ("sky", *SHAPES)
    assert [len(scenes.objects(index)) for index in range(5)] == [2] * 5
    assert np.shape(scenes.image(0)) == (48, 48, 3)
