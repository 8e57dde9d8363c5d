"""One folder a class: DIR/train/<class>/*.jpg beside DIR/val and DIR/test, or DIR/<class>/*.jpg split by hash."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvserve.data.readers.problems import BadImage, verify
from cvserve.data.readers.scan import find_images, loose_images, subfolders
from cvserve.data.readers.splitting import SPLITS, Shares, content_position
from cvserve.errors import InvalidInput, NotFound

_log = logging.getLogger(__name__)

ALL = "all"

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Sample:
    """One image. label: index into the classes."""

    path: Path
    label: int


@dataclass(frozen=True)
class Split:
    """One side of an `ImageFolder`, as a `cvserve.data.Dataset`.

    root: the folder that names are relative to. samples: by class, then by path. ignored: suffix ("" for none,
    "hidden") to number of files that are no images.
    """

    root: Path
    split: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    ignored: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    def image(self, index: int) -> Path:
        """The image's file."""
        return self.samples[index].path

    def label(self, index: int) -> int:
        """The image's class, an index into `classes`."""
        return self.samples[index].label

    def name(self, index: int) -> str:
        """The path below `root`, in POSIX form."""
        return self.samples[index].path.relative_to(self.root).as_posix()

    def describe(self) -> str:
        """One line: folder, split, images by class, files that were ignored."""
        numbers = Counter(sample.label for sample in self.samples)
        shown = ", ".join(f"{name} {numbers[label]}" for label, name in enumerate(self.classes))
        text = f"{self.root} {self.split}: {len(self)} images in {len(self.classes)} classes ({shown})"
        if self.ignored:
            parts = ", ".join(f"{kind or 'no suffix'} {number}" for kind, number in sorted(self.ignored.items()))
            text += f"; {sum(self.ignored.values())} files ignored ({parts})"
        return text

    def verify(self) -> tuple[BadImage, ...]:
        """The files whose headers show that they cannot be used; see `cvserve.data.readers.problems.verify`."""
        return verify(self)

    def without(self, indices: Iterable[int]) -> Split:
        """The same split, less these samples."""
        left_out = set(indices)
        kept = tuple(sample for index, sample in enumerate(self.samples) if index not in left_out)
        return replace(self, samples=kept)


class ImageFolder:
    """A folder of images, one sub-folder a class, in either of two forms.

    With split folders, DIR/train/<class>/, DIR/val/<class>/ (also "valid" or "validation") and DIR/test/<class>/; or
    without, DIR/<class>/, and then the images are divided by `cvserve.data.readers.splitting`. Classes are the names of
    the folders, sorted; below a class folder any depth is fine. Hidden files and files without an image's suffix are
    ignored, and counted. Other folders beside train, val and test are not read; a warning (log
    "cvserve.data.readers.class_folder")
    names them.

    Args:
        root: the folder.
        shares: of the sides, where there are no split folders; by default 80 % train, 10 % val, 10 % test.
        classes: label order of a trained model. The folder may then lack some of these classes (or all of train), but
            must have no others. None takes the classes from train, and val and test must have the same.

    Raises:
        NotFound: there is no such folder.
        InvalidInput: no classes, only one, or other folders beside val or test where there is no train.
    """

    def __init__(self, root: str | Path, *, shares: Shares | None = None, classes: Sequence[str] | None = None) -> None:
        self.root = Path(root)
        self.shares = shares or Shares()
        self._given = classes is not None
        self._split_folders = self._find_split_folders()
        if classes is not None:
            self.classes = tuple(classes)
        elif self._split_folders:
            self.classes = self._class_names(self._folder_of("train"))
        else:
            self.classes = self._class_names(self.root)

    @property
    def splits(self) -> tuple[str, ...]:
        """The names that `split` takes."""
        if self._split_folders:
            return tuple(name for name in SPLITS if name in self._split_folders)
        return (*SPLITS, ALL)

    def split(self, name: str = "train") -> Split:
        """Reads one side.

        Args:
            name: "train", "val" or "test"; of a folder without split folders also "all".

        Raises:
            NotFound: there is no such split.
            InvalidInput: a class folder without images, classes that differ from train's, or a side that the hash
                left without images.
        """
        folder = self._folder_of(name) if self._split_folders else self.root
        if name not in (*SPLITS, ALL):
            raise NotFound(f"{self.root}: there is no split {name!r}; it has {', '.join(self.splits)}")
        present = self._class_names(folder)
        self._check_classes(folder, present)
        samples: list[Sample] = []
        ignored: Counter[str] = Counter()
        for label, class_name in enumerate(self.classes):
            if class_name not in present:
                continue
            found = find_images(folder / class_name)
            ignored.update(found.ignored)
            if not found.images:
                raise InvalidInput(
                    f"{folder / class_name}: this class folder has no images; put some in, or remove the folder"
                )
            samples += [Sample(path, label) for path in found.images]
        if not self._split_folders and name != ALL:
            samples = self._side(samples, name)
        return Split(self.root, name, self.classes, tuple(samples), dict(ignored))

    def _find_split_folders(self) -> dict[str, Path]:
        """Split name to folder; empty for a folder without split folders."""
        found: dict[str, Path] = {}
        others: list[str] = []
        for folder in subfolders(self.root):
            name = SPLIT_FOLDERS.get(folder.name.lower())
            if name is None:
                others.append(folder.name)
            elif name in found:
                raise InvalidInput(
                    f"{self.root}: {found[name].name} and {folder.name} are both {name}; keep one of them"
                )
            else:
                found[name] = folder
        if found and others and "train" not in found:
            split = next(iter(found.values())).name
            raise InvalidInput(
                f"{self.root}: there is a {split} folder beside other folders ({_few(others)}) but no train folder; "
                f"put the class folders into train, or rename {split} if it is a class"
            )
        if found and others:
            read = ", ".join(folder.name for folder in found.values())
            _log.warning("%s: only %s are read, not the folders beside them: %s", self.root, read, _few(others))
        return found

    def _folder_of(self, split: str) -> Path:
        if split not in self._split_folders:
            raise NotFound(f"{self.root}: there is no {split} folder; it has {', '.join(self.splits)}")
        return self._split_folders[split]

    def _class_names(self, folder: Path) -> tuple[str, ...]:
        names = tuple(entry.name for entry in subfolders(folder))
        if not names:
            loose = loose_images(folder)
            lying = f" ({loose} images lie in it directly)" if loose else ""
            raise InvalidInput(f"{folder}: no class folders{lying}; images belong in {folder}/<class>/")
        if len(names) == 1 and not self._given:
            raise InvalidInput(f"{folder}: only one class ({names[0]}); a classifier needs at least two class folders")
        return names

    def _check_classes(self, folder: Path, present: tuple[str, ...]) -> None:
        unknown = sorted(set(present) - set(self.classes))
        missing = sorted(set(self.classes) - set(present))
        if self._given:
            if unknown:
                raise InvalidInput(
                    f"{folder}: class folders that the model does not know: {_few(unknown)}; it knows "
                    f"{_few(self.classes)}"
                )
        elif unknown or missing:
            faults = [f"has {_few(unknown)} in addition"] * bool(unknown) + [f"lacks {_few(missing)}"] * bool(missing)
            train = self._folder_of("train")
            raise InvalidInput(f"{folder}: its class folders differ from those of {train}: it {' and '.join(faults)}")

    def _side(self, samples: list[Sample], name: str) -> list[Sample]:
        kept = [sample for sample in samples if self._side_of(sample.path) == name]
        missing = sorted(set(self.classes) - {self.classes[sample.label] for sample in kept})
        if not kept or (name == "train" and missing and not self._given):
            what = f"of class {missing[0]}" if kept else f"of all {len(samples)}"
            raise InvalidInput(
                f"{self.root}: no image {what} fell into {name}; add images, raise the share of {name}, or make "
                "train and val folders"
            )
        return kept

    def _side_of(self, path: Path) -> str:
        try:
            return self.shares.side(content_position(path))
        except OSError:
            # One file that cannot be read is no reason to refuse the folder: in train it is reported and left out.
            return "train"


def _few(names: Sequence[str], limit: int = 8) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
