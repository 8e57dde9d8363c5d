"""Writes images with their results drawn on them, under names that neither collide nor leave the folder."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePath

import cv2

from cvserve.batch.sources import Source
from cvserve.errors import InvalidInput
from cvserve.postproc import Result, draw
from cvserve.preproc import decode

SUFFIX = ".jpg"
JPEG_QUALITY = 90
# File systems allow 255 bytes a name; escapes can triple a byte.
_LONGEST = 80
# Characters that Windows refuses in a name, the root, and the escape character itself.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\/%]')


def annotated_path(folder: Path, name: str, suffix: str = SUFFIX) -> Path:
    """Returns the path of the annotated copy of the image `name`: `<folder>/<name>.jpg`, the suffix always added.

    Different names get different files (a.png and a.jpg too), all below `folder`: a leading slash and "..", which would
    lead out of it, and characters that a file system may refuse are written as %XX.
    """
    *folders, last = PurePath(name).parts or ("%",)
    parts = [_part(part) for part in folders]
    # A folder must not have the name of another image's file: only files end in the suffix.
    parts = [part[:-1] + f"%{ord(part[-1]):02X}" if part.endswith(suffix) else part for part in parts]
    return folder.joinpath(*parts, _part(last) + suffix)


def _part(text: str) -> str:
    safe = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", text)
    if not safe.strip("."):
        safe = safe.replace(".", "%2E")
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) > _LONGEST:
        safe = f"{safe[:40]}%{hashlib.blake2b(encoded, digest_size=8).hexdigest()}"
    return safe


def write_annotated(source: Source, result: Result, folder: Path) -> Path:
    """Draws the result onto the whole image and writes it as JPEG.

    Raises:
        ImageError: the image cannot be decoded any more. InvalidInput: the folder cannot be written to.
    """
    image = draw(decode(source.path, name=source.name), result)
    path = annotated_path(folder, source.name)
    encoded, data = cv2.imencode(SUFFIX, image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise InvalidInput(f"{source.name} cannot be written as {SUFFIX}")
    write_file(path, data.tobytes())
    return path


def write_file(path: Path, content: bytes) -> None:
    """Writes the file, and makes its folders.

    Raises:
        InvalidInput: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from error
