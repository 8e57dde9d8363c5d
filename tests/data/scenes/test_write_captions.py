"""Scenes as files with captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cvserve.data import Scenes, open_dataset, write_captions
from cvserve.errors import InvalidInput
from cvserve.preproc import decode


def test_files_say_what_the_scenes_say(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_captions(Scenes(5, task="captioning", split=split, image_size=64), tmp_path, ".png")
    scenes = Scenes(5, task="captioning", split="val", image_size=64)
    data = open_dataset(tmp_path, "val", task="captioning")
    assert len(data) == 5
    for index in range(5):
        assert data.captions(index) == scenes.captions(index)
        assert data.image_id(index) == scenes.image_id(index)
        np.testing.assert_array_equal(decode(data.image(index)), scenes.image(index))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"not '\.gif'"):
        write_captions(Scenes(2, task="captioning"), tmp_path, ".gif")
