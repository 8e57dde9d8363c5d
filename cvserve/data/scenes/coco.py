"""Scenes as files with boxes and masks, in COCO's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.data.scenes.folder import encode_scene
from cvserve.data.scenes.generator import Scenes
from cvserve.data.scenes.shapes import SHAPES
from cvserve.errors import InvalidInput


def write_coco(scenes: Scenes, directory: str | Path, suffix: str = ".jpg") -> Path:
    """Writes the scenes as DIR/<split>/<index>.jpg and DIR/annotations/instances_<split>.json.

    `open_dataset(DIR, split, task="detection")` reads them, and so does pycocotools. Masks are uncompressed run
    lengths, exact. Files of the same name are overwritten, others are left alone: write each split in turn into one
    DIR.

    Args:
        suffix: ".jpg" (quality 92) or ".png" (exact pixels).

    Returns:
        The folder DIR.

    Raises:
        InvalidInput: another suffix, or a folder that cannot be written.
    """
    if suffix not in (".jpg", ".png"):
        raise InvalidInput(f"scenes are written as .jpg or .png, not {suffix!r}")
    root = Path(directory)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    try:
        (root / scenes.split).mkdir(parents=True, exist_ok=True)
        (root / "annotations").mkdir(exist_ok=True)
        for index in range(len(scenes)):
            scene, image_id = scenes.scene(index), scenes.image_id(index)
            name = f"{index:06d}{suffix}"
            (root / scenes.split / name).write_bytes(encode_scene(scene.image, suffix))
            images.append({"id": image_id, "file_name": name, "width": scenes.side, "height": scenes.side})
            for box, label, mask in zip(scene.boxes.tolist(), scene.labels.tolist(), scene.masks, strict=True):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": label + 1,
                        "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                        "area": int(mask.sum()),
                        "iscrowd": 0,
                        "segmentation": run_lengths(mask),
                    }
                )
        categories = [
            {"id": number, "name": name, "supercategory": "shape"} for number, name in enumerate(SHAPES, start=1)
        ]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{scenes.split}.json").write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{error.filename or root} cannot be written: {error.strerror}") from error
    return root


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """A mask, bool [H, W], as COCO's uncompressed run lengths: down the columns, beginning with the zeros."""
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [len(flat)]])
    counts = np.diff(edges).tolist()
    if len(flat) and flat[0]:
        counts = [0, *counts]
    return {"size": list(mask.shape), "counts": counts}
