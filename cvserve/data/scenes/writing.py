"""Writes scenes as files, in the layouts that `cvserve.data.readers` reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cvserve.data.scenes.generator import Scene, Scenes
from cvserve.data.scenes.shapes import SHAPES
from cvserve.errors import InvalidInput
from cvserve.postproc.masks import run_lengths

_QUALITY = 92


def write_image_folder(scenes: Scenes, directory: str | Path, suffix: str = ".jpg") -> Path:
    """Writes the scenes as DIR/<split>/<shape>/<index>.jpg, so that DIR is what `ImageFolder` reads.

    Files of the same name are overwritten, others are left alone: write each split in turn into one DIR.

    Args:
        suffix: ".jpg" (quality 92) or ".png" (exact pixels).

    Returns:
        The folder DIR.

    Raises:
        InvalidInput: another suffix, or a folder that cannot be written.
    """
    root = Path(directory)
    with _writing(root, suffix):
        for name in SHAPES:
            (root / scenes.split / name).mkdir(parents=True, exist_ok=True)
        for index in range(len(scenes)):
            scene = scenes.scene(index)
            path = root / scenes.split / SHAPES[scene.label] / f"{index:06d}{suffix}"
            path.write_bytes(_encode(scene.image, suffix))
    return root


def write_mask_folder(scenes: Scenes, directory: str | Path, suffix: str = ".jpg") -> Path:
    """Writes the scenes as DIR/<split>/images/<index>.jpg and masks/<index>.png, and their classes as DIR/classes.txt.

    `open_dataset(DIR, split, task="segmentation")` reads them. Files of the same name are overwritten, others are left
    alone: write each split in turn into one DIR.

    Args:
        scenes: of the task "segmentation".
        suffix: of the images: ".jpg" (quality 92) or ".png" (exact pixels).

    Returns:
        The folder DIR.

    Raises:
        InvalidInput: another suffix or task, or a folder that cannot be written.
    """
    if len(scenes.classes) != len(SHAPES) + 1:
        raise InvalidInput(f"scenes of {scenes.task} have other classes than their label maps; ask for segmentation")
    root = Path(directory)
    images, masks = (root / scenes.split / name for name in ("images", "masks"))
    with _writing(root, suffix):
        for folder in (images, masks):
            folder.mkdir(parents=True, exist_ok=True)
        (root / "classes.txt").write_text("\n".join(scenes.classes) + "\n", encoding="utf-8")
        for index in range(len(scenes)):
            scene = scenes.scene(index)
            (images / f"{index:06d}{suffix}").write_bytes(_encode(scene.image, suffix))
            (masks / f"{index:06d}.png").write_bytes(cv2.imencode(".png", scene.class_map)[1].tobytes())
    return root


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
    return _write_coco(scenes, Path(directory), suffix, "instances", _objects, {"categories": categories})


def write_captions(scenes: Scenes, directory: str | Path, suffix: str = ".jpg") -> Path:
    """Writes the scenes as DIR/<split>/<index>.jpg and DIR/annotations/captions_<split>.json, all sentences of each.

    `open_dataset(DIR, split, task="captioning")` reads them, and so does pycocoevalcap. Files, arguments, result and
    errors are as in `write_coco`.
    """
    return _write_coco(scenes, Path(directory), suffix, "captions", _sentences, {})


def _write_coco(
    scenes: Scenes,
    root: Path,
    suffix: str,
    kind: str,
    annotations_of: Callable[[Scene], list[dict[str, Any]]],
    more: dict[str, Any],
) -> Path:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with _writing(root, suffix):
        (root / scenes.split).mkdir(parents=True, exist_ok=True)
        (root / "annotations").mkdir(exist_ok=True)
        for index in range(len(scenes)):
            scene, image_id = scenes.scene(index), scenes.image_id(index)
            name = f"{index:06d}{suffix}"
            (root / scenes.split / name).write_bytes(_encode(scene.image, suffix))
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


@contextmanager
def _writing(root: Path, suffix: str) -> Iterator[None]:
    """Turns an unusable suffix and errors of the file system into InvalidInput.

    Raises:
        InvalidInput: another suffix than ".jpg" and ".png", or a file below `root` that cannot be written.
    """
    if suffix not in (".jpg", ".png"):
        raise InvalidInput(f"scenes are written as .jpg or .png, not {suffix!r}")
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{error.filename or root} cannot be written: {error.strerror}") from error


def _encode(image: np.ndarray, suffix: str) -> bytes:
    """Encodes an image, uint8 RGB [H, W, 3], as the bytes of a file: ".jpg" or ".png"."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if suffix == ".jpg" else []
    _, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()
