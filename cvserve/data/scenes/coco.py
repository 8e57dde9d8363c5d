"""Scenes as files in COCO's layout: with boxes and masks, or with captions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cvserve.data.scenes.folder import encode_scene, writing
from cvserve.data.scenes.generator import Scene, Scenes
from cvserve.data.scenes.shapes import SHAPES
from cvserve.postproc.masks import run_lengths


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
    categories = [{"id": number, "name": name, "supercategory": "shape"} for number, name in enumerate(SHAPES, start=1)]
    return _write(scenes, Path(directory), suffix, "instances", _objects, {"categories": categories})


def write_captions(scenes: Scenes, directory: str | Path, suffix: str = ".jpg") -> Path:
    """Writes the scenes as DIR/<split>/<index>.jpg and DIR/annotations/captions_<split>.json, all sentences of each.

    `open_dataset(DIR, split, task="captioning")` reads them, and so does pycocoevalcap. Files, arguments, result and
    errors are those of `write_coco`.
    """
    return _write(scenes, Path(directory), suffix, "captions", _sentences, {})


def _write(
    scenes: Scenes,
    root: Path,
    suffix: str,
    kind: str,
    annotations_of: Callable[[Scene], list[dict[str, Any]]],
    more: dict[str, Any],
) -> Path:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with writing(root, suffix):
        (root / scenes.split).mkdir(parents=True, exist_ok=True)
        (root / "annotations").mkdir(exist_ok=True)
        for index in range(len(scenes)):
            scene, image_id = scenes.scene(index), scenes.image_id(index)
            name = f"{index:06d}{suffix}"
            (root / scenes.split / name).write_bytes(encode_scene(scene.image, suffix))
            images.append({"id": image_id, "file_name": name, "width": scenes.side, "height": scenes.side})
            for item in annotations_of(scene):
                annotations.append({"id": len(annotations) + 1, "image_id": image_id, **item})
        content = {"images": images, "annotations": annotations, **more}
        (root / "annotations" / f"{kind}_{scenes.split}.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def _objects(scene: Scene) -> list[dict[str, Any]]:
    return [
        {
            "category_id": label + 1,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "area": int(mask.sum()),
            "iscrowd": 0,
            "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask).tolist()},
        }
        for box, label, mask in zip(scene.boxes.tolist(), scene.labels.tolist(), scene.masks, strict=True)
    ]


def _sentences(scene: Scene) -> list[dict[str, Any]]:
    return [{"caption": sentence} for sentence in scene.sentences]
