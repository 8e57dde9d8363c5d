"""A whole training of a segmenter on generated images of three colours."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvserve.training import TrainConfig

COLORS = {"ground": (128, 128, 128), "red": (40, 40, 220), "green": (40, 200, 60)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rectangles on grey, 32 x 64 pixels, with a rim of void; 9 training and 3 validation images."""
    root, rng = tmp_path_factory.mktemp("rectangles"), np.random.default_rng(0)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in (*COLORS, "void")))
    colors = np.array(list(COLORS.values()))
    for split, count in (("train", 9), ("val", 3)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            mask = np.zeros((32, 64), np.uint8)
            for label, left in ((1, 0), (2, 32)):
                x, y = left + rng.integers(2, 10), rng.integers(2, 10)
                mask[y - 1 : y + 17, x - 1 : x + 17] = 3
                mask[y : y + 16, x : x + 16] = label
            pixels = colors[np.where(mask == 3, 0, mask)] + rng.normal(0, 20, (32, 64, 3))
            cv2.imwrite(str(root / split / "images" / f"{index}.png"), np.clip(pixels, 0, 255).astype(np.uint8))
            cv2.imwrite(str(root / split / "masks" / f"{index}.png"), mask)
    return root


def test_a_segmenter_learns_three_colors(folder: Path, tmp_path: Path) -> None:
    from cvserve.training.trainer import Trainer

    config = TrainConfig.load(
        None,
        {
            "task": "segmentation",
            "data": str(folder),
            "model_options": {"backbone_options": {"width": 4}, "width": 8},
            "image_size": [32, 64],
            "epochs": 25,
            "batch_size": 4,
            "optimizer": {"learning_rate": 0.02},
            "schedule": {"warmup_epochs": 1},
            "average_decay": 0.5,
            "augmentation": {"scale": [0.8, 1.2]},
            "segmentation": {"losses": {"cross_entropy": 1, "dice": 0.5}, "class_weights": "median_frequency"},
        },
    )
    trainer = Trainer(config, tmp_path / "run")
    weights = trainer.task.class_weights  # type: ignore[union-attr]
    assert weights is not None
    assert weights[0] < 0.9 < weights[1]
    run = trainer.run()
    assert trainer.step.traces == 1
    assert run.labels == tuple(COLORS)
    assert run.preproc.resize == "letterbox"
    assert run.metrics["miou"] > 0.8
    assert run.metrics["pixel_accuracy"] > 0.9
    history = json.loads((run.directory / "history.json").read_text())
    assert run.metrics["miou"] == max(row["val_miou"] for row in history)
    answers = run.load_model()(np.zeros((1, 32, 64, 3), np.uint8), training=False)
    assert answers["class_map"].shape == (1, 32, 64)
