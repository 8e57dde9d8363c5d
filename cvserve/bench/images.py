"""Provides the images that clients send: the user's own, or generated ones that decode as slowly as photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cvserve.errors import NotFound

IMAGES = 32
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def make_images(count: int = IMAGES, width: int = 500, height: int = 375) -> list[bytes]:
    """Returns JPEGs, the same at every call, that are as large and decode as slowly as photographs.

    At 500 x 375 pixels they have 116 kB and take 1.3 ms to decode; photographs of ImageNet have 116 kB and take 1.5 ms.
    """
    random = np.random.default_rng(0)
    made = []
    for _ in range(count):
        image = random.normal(128, 12, (height, width, 1)).astype(np.float32).repeat(3, axis=2)
        for octave in (6, 24, 96):
            noise = random.normal(0, 400 / octave**0.8, (octave * 3 // 4, octave, 3)).astype(np.float32)
            image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        pixels = np.clip(image, 0, 255).astype(np.uint8)
        made.append(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    return made


def write_images(folder: Path, source: str | Path | None = None, count: int = IMAGES) -> list[Path]:
    """Writes at most `count` images into `folder`, for the processes that measure.

    Args:
        source: a folder, searched at any depth, or a file; None generates images.

    Raises:
        NotFound: there are no images.
    """
    if source is None:
        contents = make_images(count)
    else:
        paths = [Path(source)] if Path(source).is_file() else sorted(Path(source).rglob("*"))
        chosen = [path for path in paths if path.suffix.lower() in SUFFIXES][:count]
        if not chosen:
            raise NotFound(f"there are no images in {source}")
        contents = [path.read_bytes() for path in chosen]
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:03}" for index in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def read_images(folder: str | Path) -> Sequence[bytes]:
    """Returns the contents of the files that `write_images` wrote."""
    return [path.read_bytes() for path in sorted(Path(folder).iterdir())]
