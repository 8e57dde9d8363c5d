"""Holds one split of images with captions, as every reader of caption files gives it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from cvserve.data.problems import Problem, first_few
from cvserve.data.readers.base import FileSplit, relative_name
from cvserve.errors import InvalidInput

_log = logging.getLogger(__name__)

# What JSON and COCO's own tools hold without rounding.
_MOST_DIGITS = 15


@dataclass(frozen=True)
class CaptionedImage:
    """Holds an image and its captions. name: of the image in reports. image_id: its number in COCO files."""

    path: Path
    name: str
    image_id: int
    captions: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class CaptionedSplit(FileSplit[CaptionedImage]):
    """Holds one split of a data set with captions, as a `cvserve.data.source.CaptionSource`.

    dropped: captions and images that are not used. A part of a split keeps all of them, since it is not known in which
    part a missing image would be.
    """

    def captions(self, index: int) -> tuple[str, ...]:
        """Returns the reference captions of the image."""
        return self.images[index].captions

    def image_id(self, index: int) -> int:
        """Returns the image's number in COCO files."""
        return self.images[index].image_id

    def describe(self) -> str:
        """Returns one line: data set, split, images, captions, what is left out."""
        number = sum(len(image.captions) for image in self.images)
        return self._described(
            f"images with {number} captions", f"{len(self.dropped)} captions or images left out" * bool(self.dropped)
        )

    def log_problems(self) -> None:
        """Warns of the captions and images that are left out (log "cvserve.data.readers.captioned")."""
        if self.dropped:
            _log.warning(
                "%s %s: %d captions or images are left out: %s",
                self.origin,
                self.split,
                len(self.dropped),
                first_few(self.dropped),
            )


def has_words(caption: object) -> bool:
    """Returns whether a caption has a word: a letter or a digit of any script."""
    return isinstance(caption, str) and any(character.isalnum() for character in caption)


def make_split(
    root: Path,
    file: Path,
    split: str,
    captions: Mapping[str, Sequence[str]],
    folder: Path,
    dropped: list[Problem],
    image_ids: Mapping[str, int] | None = None,
) -> CaptionedSplit:
    """Makes a split from the captions of each image, less the images that have no caption or do not exist.

    Args:
        root: the data set's folder. file: the one with the captions.
        captions: by the images' names below `folder`, in order.
        dropped: what the reader has left out; what is left out here is added.
        image_ids: None takes the names as numbers, where all of them are different numbers, or index + 1.

    Raises:
        InvalidInput: no image is left.
    """
    if image_ids is None:
        image_ids = _numbers(captions)
    images = []
    for name, sentences in captions.items():
        path = folder / name
        shown = relative_name(path, root)
        if not sentences:
            dropped.append(Problem(shown, "", "has no caption"))
        elif not path.is_file():
            dropped.append(Problem(shown, "", "there is no such image"))
        else:
            images.append(CaptionedImage(path, shown, image_ids[name], tuple(sentences)))
    if not images:
        first = f"; the first: {dropped[0]}" if dropped else ""
        raise InvalidInput(f"{file}: not one image with a caption is there{first}")
    return CaptionedSplit(origin=str(root), split=split, images=tuple(images), dropped=tuple(dropped))


def image_folder(names: Iterable[str], candidates: Iterable[Path]) -> Path:
    """Returns the folder that holds the first image that exists; the first candidate if none exists."""
    folders = [folder for folder in candidates if folder.is_dir()]
    for number, name in enumerate(names):
        if number == 100:
            break
        for folder in folders:
            if (folder / name).is_file():
                return folder
    return folders[0] if folders else Path()


def _numbers(names: Iterable[str]) -> dict[str, int]:
    """Numbers images as `cvserve predict` does, so that its results match."""
    names = list(names)
    stems = [PurePath(name).stem for name in names]
    if all(stem.isascii() and stem.isdigit() and len(stem) <= _MOST_DIGITS for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return dict(zip(names, numbers, strict=True))
    return {name: index + 1 for index, name in enumerate(names)}
