"""Scenes as files with label maps: images and PNGs of the same stem."""

from __future__ import annotations

from pathlib import Path

import cv2

from cvserve.data.scenes.folder import encode_scene, writing
from cvserve.data.scenes.generator import Scenes
from cvserve.errors import InvalidInput


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
    if scenes.task != "segmentation":
        raise InvalidInput(f"scenes of {scenes.task} have other classes than their label maps; ask for segmentation")
    root = Path(directory)
    images, masks = (root / scenes.split / name for name in ("images", "masks"))
    with writing(root, suffix):
        for folder in (images, masks):
            folder.mkdir(parents=True, exist_ok=True)
        (root / "classes.txt").write_text("\n".join(scenes.classes) + "\n", encoding="utf-8")
        for index in range(len(scenes)):
            scene = scenes.scene(index)
            (images / f"{index:06d}{suffix}").write_bytes(encode_scene(scene.image, suffix))
            (masks / f"{index:06d}.png").write_bytes(cv2.imencode(".png", scene.class_map)[1].tobytes())
    return root
