"""One split of images with captions, as every reader of caption files gives it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from cvserve.data.readers.problems import BadImage, verify
from cvserve.errors import InvalidInput

_log = logging.getLogger(__name__)

# What JSON and COCO's own tools hold without rounding.
_MOST_DIGITS = 15


@dataclass(frozen=True)
class CaptionProblem:
    """What is not used. image: the name of the image, or of the file with captions. what: in that file, or ""."""

    image: str
    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.image}: {self.what} {self.reason}" if self.what else f"{self.image}: {self.reason}"


@dataclass(frozen=True)
class CaptionedImage:
    """An image and its captions. name: what reports call it. image_id: its number in COCO files."""

    path: Path
    name: str
    image_id: int
    captions: tuple[str, ...]


@dataclass(frozen=True)
class CaptionedSplit:
    """One side of a data set with captions, as a `cvserve.data.captions.CaptionSource`.

    origin: what `describe` calls the data set. dropped: captions and images that are not used. note: a sentence more
    for `describe`.
    """

    origin: str
    split: str
    images: tuple[CaptionedImage, ...]
    dropped: tuple[CaptionProblem, ...] = ()
    note: str = ""
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Path:
        """The image's file."""
        return self.images[index].path

    def name(self, index: int) -> str:
        """What reports call the image."""
        return self.images[index].name

    def captions(self, index: int) -> tuple[str, ...]:
        """The true sentences about the image."""
        return self.images[index].captions

    def image_id(self, index: int) -> int:
        """The image's number in COCO files."""
        return self.images[index].image_id

    def describe(self) -> str:
        """One line: data set, split, images, captions, what is left out."""
        number = sum(len(image.captions) for image in self.images)
        text = f"{self.origin} {self.split}: {len(self)} images with {number} captions"
        left_out = f"{len(self.dropped)} captions or images left out" * bool(self.dropped)
        return "; ".join([text, *filter(None, (left_out, self.note))])

    def verify(self) -> tuple[BadImage, ...]:
        """The files whose headers show that they cannot be used; see `cvserve.data.readers.problems.verify`."""
        return verify(self)

    def without(self, indices: Iterable[int]) -> CaptionedSplit:
        """The same split, less these images."""
        left_out = set(indices)
        kept = tuple(image for index, image in enumerate(self.images) if index not in left_out)
        return replace(self, images=kept)

    def part(self, split: str, images: Sequence[CaptionedImage], note: str) -> CaptionedSplit:
        """The side `split` with these of its images, and a sentence more for `describe`.

        What is left out stays with every side: of an image that is missing nobody knows on which side it would be.
        """
        joined = "; ".join(filter(None, (self.note, note)))
        return replace(self, split=split, images=tuple(images), note=joined)


def usable(caption: object) -> bool:
    """Whether a caption has a word: a letter or a digit of any script."""
    return isinstance(caption, str) and any(character.isalnum() for character in caption)


def make_split(
    root: Path,
    file: Path,
    split: str,
    captions: Mapping[str, Sequence[str]],
    folder: Path,
    dropped: list[CaptionProblem],
    image_ids: Mapping[str, int] | None = None,
) -> CaptionedSplit:
    """A split from the captions of each image, less the images that have none or are not there.

    Args:
        root: the data set's folder. file: the one with the captions.
        captions: by the images' names below `folder`, in order.
        dropped: what the reader has left out; what is left out here is added.
        image_ids: None takes the numbers that the names are, where all of them are different ones, or index + 1.

    Raises:
        InvalidInput: nothing is left.
    """
    if image_ids is None:
        image_ids = _numbers(captions)
    images = []
    for name, sentences in captions.items():
        path = folder / name
        shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        if not sentences:
            dropped.append(CaptionProblem(shown, "", "has no caption"))
        elif not path.is_file():
            dropped.append(CaptionProblem(shown, "", "there is no such image"))
        else:
            images.append(CaptionedImage(path, shown, image_ids[name], tuple(sentences)))
    if not images:
        first = f"; the first: {dropped[0]}" if dropped else ""
        raise InvalidInput(f"{file}: not one image with a caption is there{first}")
    if dropped:
        more = f"; and {len(dropped) - 5} more" if len(dropped) > 5 else ""
        shown = "; ".join(map(str, dropped[:5]))
        _log.warning("%s: %d captions or images are left out: %s%s", file, len(dropped), shown, more)
    return CaptionedSplit(str(root), split, tuple(images), tuple(dropped))


def image_folder(names: Iterable[str], candidates: Iterable[Path]) -> Path:
    """The folder below which the first image that is there lies; the first candidate where none is."""
    folders = [folder for folder in candidates if folder.is_dir()]
    for number, name in enumerate(names):
        if number == 100:
            break
        for folder in folders:
            if (folder / name).is_file():
                return folder
    return folders[0] if folders else Path()


def _numbers(names: Iterable[str]) -> dict[str, int]:
    """As `cvserve predict` numbers them, so that its results fit."""
    names = list(names)
    stems = [PurePath(name).stem for name in names]
    if all(stem.isascii() and stem.isdigit() and len(stem) <= _MOST_DIGITS for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return dict(zip(names, numbers, strict=True))
    return {name: index + 1 for index, name in enumerate(names)}
