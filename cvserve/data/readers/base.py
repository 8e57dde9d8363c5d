"""Declares what a reader is, and what the splits of all readers have in common.

A reader knows one layout of files on disk. It is a module with a `READER`, listed in `cvserve.data.readers.folder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from cvserve.data.problems import BadImage, Problem, few_names, verify
from cvserve.data.splits import ALL, SPLITS, SplitFractions
from cvserve.errors import InvalidInput, NotFound

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""The names of folders, in lower case, and the splits that they hold."""

# Of a train split that has no val beside it: what `SplitFractions` gives val, and nothing for test.
_TRAIN_ONLY = SplitFractions(train=0.9, val=0.1, test=0.0)


class Opener(Protocol):
    """Opens the splits of a data set on disk that a reader has recognised."""

    def open(self, split: str, fractions: SplitFractions | None) -> Any:
        """Reads one split.

        Args:
            split: "train", "val" or "test"; "all" of a data set that is not divided on disk.
            fractions: of the splits that are divided by the images' contents; None takes the defaults.

        Raises:
            NotFound: there is no such split. InvalidInput: a file cannot be used, or no image is in the split.
        """


@dataclass(frozen=True)
class Reader:
    """Describes one layout of files.

    task: the task that the data set is for. looked_for: the files by which the layout is known, for the error when no
    reader matches. recognise: takes a folder and the label order of a trained model, which the data must fit (None
    takes it from the data); returns the data set, or None for a folder in another layout.
    """

    task: str
    looked_for: str
    recognise: Callable[[Path, Sequence[str] | None], Opener | None]


class _HasPath(Protocol):
    @property
    def path(self) -> Path: ...

    @property
    def name(self) -> str: ...


Image = TypeVar("Image", bound=_HasPath)


@dataclass(frozen=True, eq=False, kw_only=True)
class FileSplit(Generic[Image]):
    """Holds one split of a data set on disk; the readers of each task add what belongs to its images.

    origin: the name of the data set in `describe`. images: each with its `path` and its `name` in reports. dropped:
    annotations that are not used. note: a sentence more for `describe`.
    """

    origin: str
    split: str
    classes: tuple[str, ...] = ()
    images: tuple[Image, ...]
    dropped: tuple[Problem, ...] = ()
    note: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Path:
        """Returns the image's file."""
        return self.images[index].path

    def name(self, index: int) -> str:
        """Returns the name of the image in reports."""
        return self.images[index].name

    def verify(self, indices: Iterable[int] | None = None, *, workers: int = 4) -> tuple[BadImage, ...]:
        """Returns the images whose files' headers show that they cannot be used; see `cvserve.data.problems`."""
        return verify(self, indices, workers=workers)

    def without(self, indices: Iterable[int]) -> Self:
        """Returns the same split, less these images."""
        left_out = set(indices)
        return replace(self, images=tuple(image for index, image in enumerate(self.images) if index not in left_out))

    def part(self, split: str, images: Sequence[Image], note: str) -> Self:
        """Returns `split` with these of the images, and a sentence more for `describe`."""
        return replace(self, split=split, images=tuple(images), note="; ".join(filter(None, (self.note, note))))

    def describe(self) -> str:
        """Returns one line: data set, split, number of images, what is left out."""
        return self._described("images")

    def log_problems(self) -> None:
        """Warns of annotations that are not used as they are written."""

    def _described(self, content: str, *more: str) -> str:
        text = f"{self.origin} {self.split}: {len(self)} {content}"
        return "; ".join(filter(None, (text, *more, self.note)))


Split = TypeVar("Split", bound=FileSplit[Any])


@dataclass(frozen=True)
class SplitFiles(Generic[Split]):
    """Holds the splits that a data set has on disk.

    names: of "train", "val", "test"; or only "all", of a data set that is not divided. read: reads one of them.
    """

    root: Path
    names: tuple[str, ...]
    read: Callable[[str], Split]

    def open(self, split: str, fractions: SplitFractions | None = None) -> Split:
        """Reads one split, or divides it off by the images' contents where the data set has no such split.

        A data set that is not divided gets train, val and test by `fractions`; of one with train but no val, val is a
        tenth of train (or the fraction of val in `fractions`), and train is the rest.

        Raises:
            NotFound: there is no such split. InvalidInput: no image is in it.
        """
        opened = self._open(split, fractions)
        opened.log_problems()
        return opened

    def _open(self, split: str, fractions: SplitFractions | None) -> Split:
        if self.names == (ALL,):
            if split == ALL:
                return self.read(ALL)
            if split in SPLITS:
                return _part(self.read(ALL), split, fractions or SplitFractions(), f"{self.root} has no splits")
            raise NotFound(f"{self.root}: there is no split {split!r}; it has {', '.join((*SPLITS, ALL))}")
        if "val" not in self.names and "train" in self.names and split in ("train", "val"):
            divided = (
                _TRAIN_ONLY
                if fractions is None
                else SplitFractions(train=1 - fractions.val, val=fractions.val, test=0.0)
            )
            return _part(self.read("train"), split, divided, f"{self.root} has no val")
        if split not in self.names:
            raise NotFound(f"{self.root}: there is no split {split!r}; it has {', '.join(self.names) or 'none'}")
        return self.read(split)


def _part(source: Split, split: str, fractions: SplitFractions, why: str) -> Split:
    total = len(source)
    images = [image for image in source.images if fractions.split_of(image.path) == split]
    if not images:
        raise InvalidInput(
            f"{source.origin}: none of its {total} images is in {split}; add images, or raise the fraction of {split}"
        )
    return source.part(
        split,
        images,
        f"{why}: {split} is the {len(images)} of {total} images that the hash of their contents puts there",
    )


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the names of splits in the order train, val, test, all."""
    known = set(names)
    return tuple(name for name in (*SPLITS, ALL) if name in known)


def relative_name(path: Path, root: Path) -> str:
    """Returns the name of a file in reports: its path below `root` in POSIX form, or all of its path."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def read_text(path: Path, *, encoding: str = "utf-8") -> str:
    """Reads a text file of a data set.

    Raises:
        InvalidInput: it is missing, cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding=encoding)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from error


def check_exist(images: Sequence[_HasPath], annotations: Path, split: str) -> None:
    """Raises InvalidInput where a split has no images, or not one of their files exists.

    Single missing files are no error here: a pipeline reports them with other damaged ones and goes on.
    """
    if not images:
        raise InvalidInput(f"{annotations}: there are no images in {split}")
    if not any(image.path.exists() for image in images):
        raise InvalidInput(
            f"{annotations}: not one of its {len(images)} images is there; the first would be {images[0].path}"
        )


def unknown_class(where: str, name: str, classes: Iterable[str]) -> InvalidInput:
    """Makes the error for an object of a class that is not among the known ones."""
    return InvalidInput(f"{where} has an object of class {name!r}; the classes are {few_names(list(classes))}")
