"""One split of pictures with boxes, as every reader of annotation files gives it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cvserve.data.boxes import BoxProblem
from cvserve.data.coco_segmentation import CocoMasks
from cvserve.data.objects import Objects
from cvserve.data.problems import BadPicture, verify
from cvserve.data.sized import upright_size
from cvserve.data.splitting import Shares, content_position
from cvserve.errors import ImageError, InvalidInput
from cvserve.postproc.object_masks import ObjectMasks
from cvserve.preproc.header import IMAGE_SUFFIXES
from cvserve.preproc.source import read_file


@dataclass(frozen=True, eq=False)
class AnnotatedPicture:
    """A picture and what is in it.

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
    borders of their pictures. note: a sentence more for `describe`.
    """

    origin: str
    split: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    pictures: tuple[AnnotatedPicture, ...]
    dropped: tuple[BoxProblem, ...] = ()
    clipped: tuple[BoxProblem, ...] = ()
    note: str = ""

    def __len__(self) -> int:
        return len(self.pictures)

    def image(self, index: int) -> Path:
        """The picture's file."""
        return self.pictures[index].path

    def name(self, index: int) -> str:
        """What reports call the picture."""
        return self.pictures[index].name

    def objects(self, index: int) -> Objects:
        """What is in the picture."""
        return self.pictures[index].objects

    def object_masks(self, index: int) -> ObjectMasks:
        """The masks of the objects, in the size of the upright picture.

        Raises:
            ImageError: one of them cannot be used, or the picture cannot be read.
            InvalidInput: the data set has no masks.
        """
        picture = self.pictures[index]
        if picture.masks is None:
            raise InvalidInput(
                f"{self.origin} has boxes without masks; masks are in COCO's JSON, and of generated scenes"
            )
        size = picture.size or upright_size(read_file(picture.path, picture.name), picture.name)
        try:
            return picture.masks.read(*size)
        except ImageError as error:
            raise ImageError(picture.name, f"its masks in {error.source} cannot be used: {error.reason}") from None

    def image_id(self, index: int) -> int:
        """The picture's number in COCO files."""
        return self.pictures[index].image_id

    def size(self, index: int) -> tuple[int, int] | None:
        """(width, height) that the annotations say of the picture, or None."""
        return self.pictures[index].size

    def describe(self) -> str:
        """One line: data set, split, pictures, objects by class, what is ignored, dropped and clipped."""
        numbers = [0] * len(self.classes)
        ignored = 0
        for picture in self.pictures:
            ignored += int(picture.objects.ignored.sum())
            for label in picture.objects.labels.tolist():
                numbers[label] += 1
        shown = ", ".join(f"{name} {number}" for name, number in zip(self.classes, numbers, strict=True))
        if len(self.classes) > 20:
            shown = f"{', '.join(self.classes[:3])} and {len(self.classes) - 3} more"
        text = (
            f"{self.origin} {self.split}: {len(self)} pictures with {sum(numbers)} objects in {len(self.classes)} "
            f"classes ({shown})"
        )
        parts = [
            f"{ignored} objects ignored" * bool(ignored),
            f"{len(self.dropped)} boxes left out" * bool(self.dropped),
            f"{len(self.clipped)} boxes clipped" * bool(self.clipped),
            self.note,
        ]
        return "; ".join([text, *filter(None, parts)])

    def verify(self) -> tuple[BadPicture, ...]:
        """The files whose headers show that they cannot be used; see `cvserve.data.problems.verify`."""
        return verify(self)

    def without(self, indices: Iterable[int]) -> AnnotatedSplit:
        """The same split, less these pictures."""
        left_out = set(indices)
        kept = tuple(picture for index, picture in enumerate(self.pictures) if index not in left_out)
        return replace(self, pictures=kept)

    def part(self, split: str, pictures: Sequence[AnnotatedPicture], note: str) -> AnnotatedSplit:
        """The side `split` with these of its pictures and their problems, and a sentence more for `describe`."""
        names = {picture.name for picture in pictures}
        return replace(
            self,
            split=split,
            pictures=tuple(pictures),
            dropped=tuple(item for item in self.dropped if item.picture in names),
            clipped=tuple(item for item in self.clipped if item.picture in names),
            note="; ".join(filter(None, (self.note, note))),
        )


class PictureFiles:
    """Finds pictures of one folder by their names without suffix, reading the folder once."""

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
        """The picture of this name, whatever its suffix."""
        name = self._by_stem.get(stem)
        return None if name is None else self.folder / name


def check_pictures(pictures: Sequence[AnnotatedPicture], annotations: Path, split: str) -> None:
    """Raises InvalidInput where a split has no pictures, or not one of its files is there.

    Single missing files are no error here: a pipeline reports them with other damaged ones and goes on.
    """
    if not pictures:
        raise InvalidInput(f"{annotations}: there are no pictures in {split}")
    if not any(picture.path.exists() for picture in pictures):
        raise InvalidInput(
            f"{annotations}: not one of its {len(pictures)} pictures is there; the first would be {pictures[0].path}"
        )


def side_of(path: Path, shares: Shares) -> Literal["train", "val", "test"]:
    """The side of a picture in a data set that has no sides of its own; one that cannot be read is in train."""
    try:
        return shares.side(content_position(path))
    except OSError:
        return "train"
