"""Holds one split of images with boxes, as every reader of boxes gives it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

from cvserve.data.objects import Objects
from cvserve.data.problems import Problem
from cvserve.data.readers.base import FileSplit
from cvserve.data.readers.boxes import log_boxes
from cvserve.errors import ImageError, InvalidInput
from cvserve.postproc.object_masks import ObjectMasks
from cvserve.preproc import read_header
from cvserve.preproc.header import IMAGE_SUFFIXES
from cvserve.preproc.source import read_file


class MasksOfImage(Protocol):
    """Holds the masks of one image's objects, which are not read yet."""

    def read(self, width: int, height: int) -> ObjectMasks:
        """Returns the masks of an image of this size, or raises ImageError where one of them cannot be used."""


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """Holds an image and the objects in it.

    name: of the image in reports. image_id: its number in COCO files. size: (width, height) in pixels that the
    annotations state; None where they do not. masks: of the objects; None where the data set has boxes alone.
    """

    path: Path
    name: str
    image_id: int
    size: tuple[int, int] | None
    objects: Objects
    masks: MasksOfImage | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class AnnotatedSplit(FileSplit[AnnotatedImage]):
    """Holds one split of a data set with boxes, as a `cvserve.data.source.DetectionSource`.

    dropped: boxes that are not used. clipped: boxes that were cut at the borders of their images.
    """

    category_ids: tuple[int, ...]
    clipped: tuple[Problem, ...] = ()

    def objects(self, index: int) -> Objects:
        """Returns the objects in the image."""
        return self.images[index].objects

    def object_masks(self, index: int) -> ObjectMasks:
        """Returns the masks of the objects, of the size of the upright image.

        Raises:
            ImageError: one of them cannot be used, or the image cannot be read.
            InvalidInput: the data set has no masks.
        """
        image = self.images[index]
        if image.masks is None:
            raise InvalidInput(
                f"{self.origin} has boxes without masks; masks are in COCO's JSON, and of generated scenes"
            )
        size = image.size or read_header(read_file(image.path, image.name), name=image.name).size
        try:
            return image.masks.read(*size)
        except ImageError as error:
            raise ImageError(image.name, f"its masks in {error.source} cannot be used: {error.reason}") from None

    def image_id(self, index: int) -> int:
        """Returns the image's number in COCO files."""
        return self.images[index].image_id

    def size(self, index: int) -> tuple[int, int] | None:
        """Returns (width, height) that the annotations state for the image, or None."""
        return self.images[index].size

    def describe(self) -> str:
        """Returns one line: data set, split, images, objects by class, what is ignored, dropped and clipped."""
        numbers = [0] * len(self.classes)
        ignored = 0
        for image in self.images:
            ignored += int(image.objects.ignored.sum())
            for label in image.objects.labels.tolist():
                numbers[label] += 1
        shown = ", ".join(f"{name} {number}" for name, number in zip(self.classes, numbers, strict=True))
        if len(self.classes) > 20:
            shown = f"{', '.join(self.classes[:3])} and {len(self.classes) - 3} more"
        return self._described(
            f"images with {sum(numbers)} objects in {len(self.classes)} classes ({shown})",
            f"{ignored} objects ignored" * bool(ignored),
            f"{len(self.dropped)} boxes left out" * bool(self.dropped),
            f"{len(self.clipped)} boxes clipped" * bool(self.clipped),
        )

    def part(self, split: str, images: Sequence[AnnotatedImage], note: str) -> Self:
        """Returns `split` with these of the images and their problems, and a sentence more for `describe`."""
        names = {image.name for image in images}
        return replace(
            super().part(split, images, note),
            dropped=tuple(item for item in self.dropped if item.image in names),
            clipped=tuple(item for item in self.clipped if item.image in names),
        )

    def log_problems(self) -> None:
        """Warns of the boxes that are left out or clipped (log "cvserve.data.readers.boxes")."""
        log_boxes(f"{self.origin} {self.split}", self.dropped, self.clipped)


class ImageFiles:
    """Finds images of one folder by their names without suffix. It reads the folder once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._by_stem: dict[str, str] = {}
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        for path in entries:
            if path.suffix.lower() in IMAGE_SUFFIXES:
                self._by_stem.setdefault(path.stem, path.name)

    def __len__(self) -> int:
        return len(self._by_stem)

    def __iter__(self) -> Iterator[Path]:
        return (self.folder / name for name in self._by_stem.values())

    def find(self, stem: str) -> Path | None:
        """Returns the image of this name, whatever its suffix; None where there is none."""
        name = self._by_stem.get(stem)
        return None if name is None else self.folder / name


def upright_size(image: Path) -> tuple[int, int] | None:
    """Returns (width, height) of the upright image by its header.

    None where it cannot be read, which a pipeline reports.
    """
    try:
        return read_header(read_file(image, str(image)), name=str(image)).size
    except InvalidInput:
        return None


def numbered(images: Iterable[AnnotatedImage]) -> tuple[AnnotatedImage, ...]:
    """Numbers the images of a format without numbers of its own from 1."""
    return tuple(replace(image, image_id=index + 1) for index, image in enumerate(images))
