"""What a pixel of each class counts, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cvserve.data.masks import VOID
from cvserve.errors import InvalidInput
from cvserve.training import TrainConfig
from cvserve.training.class_weights import class_weights

# Of 4 pixels: three of class 0, one of class 1. Of 4, one void: one of class 0, two of class 2. Class 3 is in none.
MASKS = [np.array([[0, 0], [0, 1]], np.uint8), np.array([[0, 2], [2, VOID]], np.uint8)]
NAMES = ("a", "b", "c", "d")


def test_median_frequency() -> None:
    """Frequencies 4 / 7, 1 / 4 and 2 / 3; their median is 4 / 7."""
    weights = class_weights("median_frequency", MASKS, NAMES)
    assert weights == pytest.approx((1.0, (4 / 7) / (1 / 4), (4 / 7) / (2 / 3), 1.0))


def test_logarithm() -> None:
    shares = np.array([4, 1, 2]) / 7
    plain = 1 / np.log(1.02 + shares)
    assert class_weights("logarithm", MASKS, NAMES) == pytest.approx((*(plain / plain.mean()), 1.0))


def test_none_and_numbers_read_no_masks() -> None:
    def broken():  # type: ignore[no-untyped-def]
        raise AssertionError
        yield

    assert class_weights("none", broken(), NAMES) is None
    assert class_weights((1, 2, 3, 0), broken(), NAMES) == (1.0, 2.0, 3.0, 0.0)
    with pytest.raises(InvalidInput, match=r"segmentation\.class_weights has 2 numbers, but there are 4 classes"):
        class_weights((1, 2), broken(), NAMES)
    assert class_weights("median_frequency", [], NAMES) == (1.0,) * 4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"losses": {"jaccard": 1}}, "jaccard"),
        ({"losses": {}}, "one loss or more"),
        ({"losses": {"dice": 0}}, "weight above 0"),
        ({"class_weights": "median"}, "class_weights"),
        ({"class_weights": [1, -1]}, "not be below 0"),
        ({"focal_gamma": -1}, "focal_gamma"),
        ({"gamma": 1}, "unknown key"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        TrainConfig.load(None, {"data": "a", "task": "segmentation", "segmentation": changes})


def test_settings_survive_a_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    changes = {"losses": {"cross_entropy": 1, "dice": 0.5}, "class_weights": [1, 2.5]}
    config = TrainConfig.load(None, {"data": "a", "task": "segmentation", "segmentation": changes})
    (tmp_path / "config.yaml").write_text(config.dump())
    assert TrainConfig.load(tmp_path / "config.yaml") == config
    assert (config.model, config.resize, config.label_smoothing) == ("unet", "letterbox", 0.0)
