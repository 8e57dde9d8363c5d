"""Scenes as files, for everything that starts from a folder of images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from cvserve.data.scenes.generator import Scenes
from cvserve.data.scenes.shapes import SHAPES
from cvserve.errors import InvalidInput

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
    with writing(root, suffix):
        for name in SHAPES:
            (root / scenes.split / name).mkdir(parents=True, exist_ok=True)
        for index in range(len(scenes)):
            scene = scenes.scene(index)
            path = root / scenes.split / SHAPES[scene.label] / f"{index:06d}{suffix}"
            path.write_bytes(encode_scene(scene.image, suffix))
    return root


@contextmanager
def writing(root: Path, suffix: str) -> Iterator[None]:
    """What every way of writing scenes refuses in the same words.

    Raises:
        InvalidInput: another suffix than ".jpg" and ".png", or a file below `root` that cannot be written.
    """
    if suffix not in (".jpg", ".png"):
        raise InvalidInput(f"scenes are written as .jpg or .png, not {suffix!r}")
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{error.filename or root} cannot be written: {error.strerror}") from error


def encode_scene(image: np.ndarray, suffix: str) -> bytes:
    """An image, uint8 RGB [H, W, 3], as the bytes of a file: ".jpg" or ".png"."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if suffix == ".jpg" else []
    _, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()
