"""Scenes as files with captions, in COCO's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cvserve.data.scenes.folder import encode_scene
from cvserve.data.scenes.generator import Scenes
from cvserve.errors import InvalidInput


def write_captions(scenes: Scenes, directory: str | Path, suffix: str = ".jpg") -> Path:
    """Writes the scenes as DIR/<split>/<index>.jpg and DIR/annotations/captions_<split>.json, all sentences of each.

    `open_dataset(DIR, split, task="captioning")` reads them, and so does pycocoevalcap. Files of the same name are
    overwritten, others are left alone: write each split in turn into one DIR.

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
            for caption in scene.sentences:
                annotations.append({"id": len(annotations) + 1, "image_id": image_id, "caption": caption})
        content = {"images": images, "annotations": annotations}
        (root / "annotations" / f"captions_{scenes.split}.json").write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{error.filename or root} cannot be written: {error.strerror}") from error
    return root
