"""Reads folders with one sub-folder per class: DIR/train/<class>/*.jpg, or DIR/<class>/*.jpg split by hash."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvserve.data.problems import BadImage, few_names, verify
from cvserve.data.readers.base import SPLIT_FOLDERS, Reader
from cvserve.data.readers.scan import find_images, loose_images, subfolders
from cvserve.data.splits import ALL, SPLITS, SplitFractions
from cvserve.errors import InvalidInput, NotFound

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """Holds an image and its class. label: index into the classes."""

    path: Path
    label: int


@dataclass(frozen=True)
class Split:
    """Holds one split of an `ImageFolder`, as a `cvserve.data.Dataset`.

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
        """Returns the image's file."""
        return self.samples[index].path

    def label(self, index: int) -> int:
        """Returns the image's class, an index into `classes`."""
        return self.samples[index].label

    def name(self, index: int) -> str:
        """Returns the path below `root`, in POSIX form."""
        return self.samples[index].path.relative_to(self.root).as_posix()

    def describe(self) -> str:
        """Returns one line: folder, split, images by class, files that were ignored."""
        numbers = Counter(sample.label for sample in self.samples)
        shown = ", ".join(f"{name} {numbers[label]}" for label, name in enumerate(self.classes))
        text = f"{self.root} {self.split}: {len(self)} images in {len(self.classes)} classes ({shown})"
        if self.ignored:
            parts = ", ".join(f"{kind or 'no suffix'} {number}" for kind, number in sorted(self.ignored.items()))
            text += f"; {sum(self.ignored.values())} files ignored ({parts})"
        return text

    def verify(self) -> tuple[BadImage, ...]:
        """Returns the images whose headers show that they cannot be used; see `cvserve.data.problems.verify`."""
        return verify(self)

    def without(self, indices: Iterable[int]) -> Split:
        """Returns the same split, less these samples."""
        left_out = set(indices)
        return replace(self, samples=tuple(item for index, item in enumerate(self.samples) if index not in left_out))


class ImageFolder:
    """Reads a folder of images with one sub-folder per class, in either of two forms.

    With split folders, DIR/train/<class>/, DIR/val/<class>/ (also "valid" or "validation") and DIR/test/<class>/; or
    without, DIR/<class>/, and then the images are divided by their contents (`cvserve.data.splits`). Classes are the
    names of the folders, sorted; below a class folder any depth is fine. Hidden files and files without an image's
    suffix are ignored, and counted. Other folders beside train, val and test are not read; a warning (log
    "cvserve.data.readers.class_folder") names them.

    Args:
        root: the folder.
        fractions: of the splits, where there are no split folders; by default 80 % train, 10 % val, 10 % test.
        classes: label order of a trained model. The folder may then lack some of these classes (or all of train), but
            must have no others. None takes the classes from train, and val and test must have the same.

    Raises:
        NotFound: there is no such folder.
        InvalidInput: no classes, only one, or other folders beside val or test where there is no train.
    """

    def __init__(
        self, root: str | Path, *, fractions: SplitFractions | None = None, classes: Sequence[str] | None = None
    ) -> None:
        self.root = Path(root)
        self.fractions = fractions or SplitFractions()
        self._classes_given = classes is not None
        self._split_folders = self._find_split_folders()
        if classes is not None:
            self.classes = tuple(classes)
        elif self._split_folders:
            self.classes = self._class_names(self._folder_of("train"))
        else:
            self.classes = self._class_names(self.root)

    @property
    def splits(self) -> tuple[str, ...]:
        """Returns the names that `split` takes."""
        if self._split_folders:
            return tuple(name for name in SPLITS if name in self._split_folders)
        return (*SPLITS, ALL)

    def split(self, name: str = "train") -> Split:
        """Reads one split.

        Args:
            name: "train", "val" or "test"; of a folder without split folders also "all".

        Raises:
            NotFound: there is no such split.
            InvalidInput: a class folder without images, classes that differ from train's, or a split that the hash
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
            samples = self._divided(samples, name)
        return Split(self.root, name, self.classes, tuple(samples), dict(ignored))

    def _find_split_folders(self) -> dict[str, Path]:
        """Returns the folder of each split; nothing for a folder without split folders."""
        folders: dict[str, Path] = {}
        others: list[str] = []
        for folder in subfolders(self.root):
            name = SPLIT_FOLDERS.get(folder.name.lower())
            if name is None:
                others.append(folder.name)
            elif name in folders:
                raise InvalidInput(
                    f"{self.root}: {folders[name].name} and {folder.name} are both {name}; keep one of them"
                )
            else:
                folders[name] = folder
        if folders and others and "train" not in folders:
            split = next(iter(folders.values())).name
            raise InvalidInput(
                f"{self.root}: there is a {split} folder beside other folders ({few_names(others)}) but no train "
                f"folder; put the class folders into train, or rename {split} if it is a class"
            )
        if folders and others:
            read = ", ".join(folder.name for folder in folders.values())
            _log.warning("%s: only %s are read, not the folders beside them: %s", self.root, read, few_names(others))
        return folders

    def _folder_of(self, split: str) -> Path:
        if split not in self._split_folders:
            raise NotFound(f"{self.root}: there is no {split} folder; it has {', '.join(self.splits)}")
        return self._split_folders[split]

    def _class_names(self, folder: Path) -> tuple[str, ...]:
        names = tuple(entry.name for entry in subfolders(folder))
        if not names:
            loose = loose_images(folder)
            where = f" ({loose} images lie in it directly)" if loose else ""
            raise InvalidInput(f"{folder}: no class folders{where}; images belong in {folder}/<class>/")
        if len(names) == 1 and not self._classes_given:
            raise InvalidInput(f"{folder}: only one class ({names[0]}); a classifier needs at least two class folders")
        return names

    def _check_classes(self, folder: Path, present: tuple[str, ...]) -> None:
        unknown = sorted(set(present) - set(self.classes))
        missing = sorted(set(self.classes) - set(present))
        if self._classes_given:
            if unknown:
                raise InvalidInput(
                    f"{folder}: class folders that the model does not know: {few_names(unknown)}; it knows "
                    f"{few_names(self.classes)}"
                )
        elif unknown or missing:
            faults = [f"has {few_names(unknown)} in addition"] * bool(unknown) + [f"lacks {few_names(missing)}"] * bool(
                missing
            )
            train = self._folder_of("train")
            raise InvalidInput(f"{folder}: its class folders differ from those of {train}: it {' and '.join(faults)}")

    def _divided(self, samples: list[Sample], name: str) -> list[Sample]:
        chosen = [sample for sample in samples if self.fractions.split_of(sample.path) == name]
        missing = sorted(set(self.classes) - {self.classes[sample.label] for sample in chosen})
        if not chosen or (name == "train" and missing and not self._classes_given):
            what = f"of class {missing[0]}" if chosen else f"of all {len(samples)}"
            raise InvalidInput(
                f"{self.root}: no image {what} fell into {name}; add images, raise the fraction of {name}, or make "
                "train and val folders"
            )
        return chosen


@dataclass(frozen=True)
class _ClassFolders:
    """Opens the splits of an `ImageFolder`. It recognises any folder; `ImageFolder` reports what is missing."""

    root: Path
    classes: Sequence[str] | None

    def open(self, split: str, fractions: SplitFractions | None) -> Split:
        """Reads one split."""
        return ImageFolder(self.root, fractions=fractions, classes=self.classes).split(split)


READER = Reader(task="classification", looked_for="<class>/ or train/<class>/ with images", recognise=_ClassFolders)
