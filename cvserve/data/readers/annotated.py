"""One split of images with boxes, as every reader of annotation files gives it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cvserve.data.objects import Objects
from cvserve.data.pipelines.sized import upright_size
from cvserve.data.readers.boxes import BoxProblem
from cvserve.data.readers.coco_segmentation import CocoMasks
from cvserve.data.readers.problems import BadImage, verify
from cvserve.data.readers.splitting import Shares, content_position
from cvserve.errors import ImageError, InvalidInput
from cvserve.postproc.object_masks import ObjectMasks
from cvserve.preproc.header import IMAGE_SUFFIXES
from cvserve.preproc.source import read_file


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """An image and what is in it.

    name: what reports call it. image_id: its number in COCO files. size: (width, height) in pixels that the
    annotations say; None where they say nothing. masks: of the objects; None where the data set has boxes alone.
    """

    path: Path
    name: str
    image_id: int
    size: tuple[int, int] | None
    objects: Objects
    masks: CocoMasks | None = None


@dataclass(frozen=True, eq=False)
class AnnotatedSplit:
    """One side of a data set with boxes, as a `cvserve.data.objects.DetectionSource`.

    origin: what `describe` calls the data set. dropped: boxes that are not used. clipped: boxes that were cut at the
    borders of their images. note: a sentence more for `describe`.
    """

    origin: str
    split: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: tuple[AnnotatedImage, ...]
    dropped: tuple[BoxProblem, ...] = ()
    clipped: tuple[BoxProblem, ...] = ()
    note: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Path:
        """The image's file."""
        return self.images[index].path

    def name(self, index: int) -> str:
        """What reports call the image."""
        return self.images[index].name

    def objects(self, index: int) -> Objects:
        """What is in the image."""
        return self.images[index].objects

    def object_masks(self, index: int) -> ObjectMasks:
        """The masks of the objects, in the size of the upright image.

        Raises:
            ImageError: one of them cannot be used, or the image cannot be read.
            InvalidInput: the data set has no masks.
        """
        image = self.images[index]
        if image.masks is None:
            raise InvalidInput(
                f"{self.origin} has boxes without masks; masks are in COCO's JSON, and of generated scenes"
            )
        size = image.size or upright_size(read_file(image.path, image.name), image.name)
        try:
            return image.masks.read(*size)
        except ImageError as error:
            raise ImageError(image.name, f"its masks in {error.source} cannot be used: {error.reason}") from None

    def image_id(self, index: int) -> int:
        """The image's number in COCO files."""
        return self.images[index].image_id

    def size(self, index: int) -> tuple[int, int] | None:
        """(width, height) that the annotations say of the image, or None."""
        return self.images[index].size

    def describe(self) -> str:
        """One line: data set, split, images, objects by class, what is ignored, dropped and clipped."""
        numbers = [0] * len(self.classes)
        ignored = 0
        for image in self.images:
            ignored += int(image.objects.ignored.sum())
            for label in image.objects.labels.tolist():
                numbers[label] += 1
        shown = ", ".join(f"{name} {number}" for name, number in zip(self.classes, numbers, strict=True))
        if len(self.classes) > 20:
            shown = f"{', '.join(self.classes[:3])} and {len(self.classes) - 3} more"
        text = (
            f"{self.origin} {self.split}: {len(self)} images with {sum(numbers)} objects in {len(self.classes)} "
            f"classes ({shown})"
        )
        parts = [
            f"{ignored} objects ignored" * bool(ignored),
            f"{len(self.dropped)} boxes left out" * bool(self.dropped),
            f"{len(self.clipped)} boxes clipped" * bool(self.clipped),
            self.note,
        ]
        return "; ".join([text, *filter(None, parts)])

    def verify(self) -> tuple[BadImage, ...]:
        """The files whose headers show that they cannot be used; see `cvserve.data.readers.problems.verify`."""
        return verify(self)

    def without(self, indices: Iterable[int]) -> AnnotatedSplit:
        """The same split, less these images."""
        left_out = set(indices)
        kept = tuple(image for index, image in enumerate(self.images) if index not in left_out)
        return replace(self, images=kept)

    def part(self, split: str, images: Sequence[AnnotatedImage], note: str) -> AnnotatedSplit:
        """The side `split` with these of its images and their problems, and a sentence more for `describe`."""
        names = {image.name for image in images}
        return replace(
            self,
            split=split,
            images=tuple(images),
            dropped=tuple(item for item in self.dropped if item.image in names),
            clipped=tuple(item for item in self.clipped if item.image in names),
            note="; ".join(filter(None, (self.note, note))),
        )


class ImageFiles:
    """Finds images of one folder by their names without suffix, reading the folder once."""

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
        """The image of this name, whatever its suffix."""
        name = self._by_stem.get(stem)
        return None if name is None else self.folder / name


def check_images(images: Sequence[AnnotatedImage], annotations: Path, split: str) -> None:
    """Raises InvalidInput where a split has no images, or not one of its files is there.

    Single missing files are no error here: a pipeline reports them with other damaged ones and goes on.
    """
    if not images:
        raise InvalidInput(f"{annotations}: there are no images in {split}")
    if not any(image.path.exists() for image in images):
        raise InvalidInput(
            f"{annotations}: not one of its {len(images)} images is there; the first would be {images[0].path}"
        )


def side_of(path: Path, shares: Shares) -> Literal["train", "val", "test"]:
    """The side of an image in a data set that has no sides of its own; one that cannot be read is in train."""
    try:
        return shares.side(content_position(path))
    except OSError:
        return "train"
