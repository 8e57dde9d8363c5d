"""One split of pictures with captions, as every reader of caption files gives it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from cvserve.data.problems import BadPicture, verify
from cvserve.errors import InvalidInput

_log = logging.getLogger(__name__)

# What JSON and COCO's own tools hold without rounding.
_MOST_DIGITS = 15


@dataclass(frozen=True)
class CaptionProblem:
    """What is not used. picture: the name of the picture, or of the file with captions. what: in that file, or ""."""

    picture: str
    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.picture}: {self.what} {self.reason}" if self.what else f"{self.picture}: {self.reason}"


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture and its captions. name: what reports call it. image_id: its number in COCO files."""

    path: Path
    name: str
    image_id: int
    captions: tuple[str, ...]


@dataclass(frozen=True)
class CaptionedSplit:
    """One side of a data set with captions, as a `cvserve.data.captions.CaptionSource`.

    origin: what `describe` calls the data set. dropped: captions and pictures that are not used. note: a sentence more
    for `describe`.
    """

    origin: str
    split: str
    pictures: tuple[CaptionedPicture, ...]
    dropped: tuple[CaptionProblem, ...] = ()
    note: str = ""
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    def image(self, index: int) -> Path:
        """The picture's file."""
        return self.pictures[index].path

    def name(self, index: int) -> str:
        """What reports call the picture."""
        return self.pictures[index].name

    def captions(self, index: int) -> tuple[str, ...]:
        """The true sentences about the picture."""
        return self.pictures[index].captions

    def image_id(self, index: int) -> int:
        """The picture's number in COCO files."""
        return self.pictures[index].image_id

    def describe(self) -> str:
        """One line: data set, split, pictures, captions, what is left out."""
        number = sum(len(picture.captions) for picture in self.pictures)
        text = f"{self.origin} {self.split}: {len(self)} pictures with {number} captions"
        left_out = f"{len(self.dropped)} captions or pictures left out" * bool(self.dropped)
        return "; ".join([text, *filter(None, (left_out, self.note))])

    def verify(self) -> tuple[BadPicture, ...]:
        """The files whose headers show that they cannot be used; see `cvserve.data.problems.verify`."""
        return verify(self)

    def without(self, indices: Iterable[int]) -> CaptionedSplit:
        """The same split, less these pictures."""
        left_out = set(indices)
        kept = tuple(picture for index, picture in enumerate(self.pictures) if index not in left_out)
        return replace(self, pictures=kept)

    def part(self, split: str, pictures: Sequence[CaptionedPicture], note: str) -> CaptionedSplit:
        """The side `split` with these of its pictures, and a sentence more for `describe`.

        What is left out stays with every side: of a picture that is missing nobody knows on which side it would be.
        """
        joined = "; ".join(filter(None, (self.note, note)))
        return replace(self, split=split, pictures=tuple(pictures), note=joined)


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
    """A split from the captions of each picture, less the pictures that have none or are not there.

    Args:
        root: the data set's folder. file: the one with the captions.
        captions: by the pictures' names below `folder`, in order.
        dropped: what the reader has left out; what is left out here is added.
        image_ids: None takes the numbers that the names are, where all of them are different ones, or index + 1.

    Raises:
        InvalidInput: nothing is left.
    """
    if image_ids is None:
        image_ids = _numbers(captions)
    pictures = []
    for name, sentences in captions.items():
        path = folder / name
        shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        if not sentences:
            dropped.append(CaptionProblem(shown, "", "has no caption"))
        elif not path.is_file():
            dropped.append(CaptionProblem(shown, "", "there is no such picture"))
        else:
            pictures.append(CaptionedPicture(path, shown, image_ids[name], tuple(sentences)))
    if not pictures:
        first = f"; the first: {dropped[0]}" if dropped else ""
        raise InvalidInput(f"{file}: not one picture with a caption is there{first}")
    if dropped:
        more = f"; and {len(dropped) - 5} more" if len(dropped) > 5 else ""
        shown = "; ".join(map(str, dropped[:5]))
        _log.warning("%s: %d captions or pictures are left out: %s%s", file, len(dropped), shown, more)
    return CaptionedSplit(str(root), split, tuple(pictures), tuple(dropped))


def picture_folder(names: Iterable[str], candidates: Iterable[Path]) -> Path:
    """The folder below which the first picture that is there lies; the first candidate where none is."""
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
