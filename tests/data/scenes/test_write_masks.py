"""Scenes as files with label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cvserve.data import Scenes, open_dataset, write_mask_folder
from cvserve.errors import InvalidInput
from cvserve.preproc import decode


def test_files_say_what_the_scenes_say(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_mask_folder(Scenes(5, task="segmentation", split=split, image_size=64), tmp_path, ".png")
    scenes = Scenes(5, task="segmentation", split="val", image_size=64)
    data = open_dataset(tmp_path, "val", task="segmentation")
    assert (data.classes, len(data)) == (scenes.classes, 5)
    for index in range(5):
        np.testing.assert_array_equal(data.mask(index), scenes.scene(index).class_map)
        np.testing.assert_array_equal(decode(data.image(index)), scenes.image(index))


def test_scenes_of_other_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="ask for segmentation"):
        write_mask_folder(Scenes(2, task="detection"), tmp_path)
    with pytest.raises(InvalidInput, match=r"not '\.gif'"):
        write_mask_folder(Scenes(2, task="segmentation"), tmp_path, ".gif")
