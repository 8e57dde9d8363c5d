"""Which side of a data set with boxes or masks comes from where, whatever its layout.

A reader finds its sides (`Sides`); what a missing val means, and how a data set without sides is divided, is decided
here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from cvserve.data.readers.annotated import AnnotatedImage, side_of
from cvserve.data.readers.class_folder import ALL
from cvserve.data.readers.splitting import SPLITS, Shares
from cvserve.errors import InvalidInput, NotFound

# Of a train side that has no val beside it: what `Shares` gives val, and nothing for test.
_TRAIN_ONLY = Shares(train=0.9, val=0.1, test=0.0)


class Divisible(Protocol):
    """A split whose images can be divided among sides."""

    @property
    def origin(self) -> str: ...

    @property
    def images(self) -> Sequence[Any]:
        """Each with its `path`."""

    def part(self, split: str, images: Sequence[Any], note: str) -> Any:
        """The side `split` with these of its images, and a sentence more for `describe`."""


AnySplit = TypeVar("AnySplit", bound=Divisible)


@dataclass(frozen=True)
class Sides(Generic[AnySplit]):
    """The sides that a data set has on disk.

    read: reads one of them. names: of "train", "val", "test"; or only "all", of a data set in one piece.
    """

    root: Path
    names: tuple[str, ...]
    read: Callable[[str], AnySplit]


def open_side(sides: Sides[AnySplit], split: str, shares: Shares | None) -> AnySplit:
    """One side, divided off by the images' contents where the data set has no such side.

    A data set in one piece is divided into train, val and test by `shares`; of one with train but no val, val is a
    tenth of train (or the share of val in `shares`), and train the rest.

    Raises:
        NotFound: there is no such side. InvalidInput: it is left without images.
    """
    if sides.names == (ALL,):
        whole = sides.read(ALL)
        if split == ALL:
            return whole
        if split in SPLITS:
            return _part(whole, split, shares or Shares(), f"{sides.root} has no sides")
        raise NotFound(f"{sides.root}: there is no split {split!r}; it has {', '.join((*SPLITS, ALL))}")
    if "val" not in sides.names and "train" in sides.names and split in ("train", "val"):
        divided = _TRAIN_ONLY if shares is None else Shares(train=1 - shares.val, val=shares.val, test=0.0)
        return _part(sides.read("train"), split, divided, f"{sides.root} has no val")
    if split not in sides.names:
        raise NotFound(f"{sides.root}: there is no split {split!r}; it has {', '.join(sides.names) or 'none'}")
    return sides.read(split)


def _part(whole: AnySplit, split: str, shares: Shares, why: str) -> AnySplit:
    total = len(whole.images)
    kept = [image for image in whole.images if side_of(image.path, shares) == split]
    if not kept:
        raise InvalidInput(
            f"{whole.origin}: none of its {total} images fell into {split}; add images, or raise the share of {split}"
        )
    part: AnySplit = whole.part(
        split, kept, f"{why}: {split} is the {len(kept)} of {total} images whose contents fall there"
    )
    return part


def label_numbers(classes: Iterable[str]) -> dict[str, int]:
    """Class name to label."""
    return {name: label for label, name in enumerate(classes)}


def unknown_class(where: str, name: str, classes: Iterable[str]) -> InvalidInput:
    """The error for an object of a class that nobody announced."""
    known = list(classes)
    shown = ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "")
    return InvalidInput(f"{where} has an object of class {name!r}; the classes are {shown}")


def numbered(images: Iterable[AnnotatedImage]) -> tuple[AnnotatedImage, ...]:
    """Images of a format without numbers of its own, numbered from 1."""
    return tuple(replace(image, image_id=index + 1) for index, image in enumerate(images))
