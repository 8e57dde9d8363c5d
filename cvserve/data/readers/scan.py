"""Finds the image files below a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cvserve.errors import InvalidInput, NotFound
from cvserve.preproc.header import IMAGE_SUFFIXES

# Folders that unpacking and network drives leave behind, which are never a class.
_LITTER = frozenset({"__MACOSX", "@eaDir"})


@dataclass(frozen=True)
class FoundImages:
    """Holds the images of a folder.

    images: sorted by their path below the folder, in POSIX form. ignored: suffix ("" for none, "hidden" for hidden
    files and folders) to number of files and folders that were ignored.
    """

    images: tuple[Path, ...]
    ignored: Mapping[str, int] = field(default_factory=dict)


def is_hidden(name: str) -> bool:
    """Returns whether files and folders of this name are ignored: dot files and what other programs leave behind."""
    return name.startswith(".") or name in _LITTER


def subfolders(folder: Path) -> list[Path]:
    """Returns the visible folders directly in `folder`, sorted by name.

    Raises:
        NotFound: there is no such folder.
        InvalidInput: it is no folder, or cannot be read.
    """
    return sorted((entry for entry in _entries(folder) if entry.is_dir()), key=lambda entry: entry.name)


def loose_images(folder: Path) -> int:
    """Returns how many image files are directly in `folder`."""
    return sum(entry.is_file() and entry.suffix.lower() in IMAGE_SUFFIXES for entry in _entries(folder))


def find_images(folder: Path) -> FoundImages:
    """Finds all images in `folder` and the folders below it; links to folders are followed, each real folder once.

    Raises:
        NotFound, InvalidInput: as `subfolders`.
    """
    images: list[Path] = []
    ignored: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        status = current.stat() if current.exists() else None
        if status is not None and (status.st_dev, status.st_ino) in seen:
            continue
        hidden: list[str] = []
        for entry in _entries(current, hidden):
            if entry.is_dir():
                waiting.append(entry)
            elif entry.suffix.lower() in IMAGE_SUFFIXES:
                images.append(entry)
            else:
                ignored[entry.suffix.lower()] += 1
        if hidden:
            ignored["hidden"] += len(hidden)
        if status is not None:
            seen.add((status.st_dev, status.st_ino))
    images.sort(key=lambda path: path.relative_to(folder).as_posix())
    return FoundImages(tuple(images), dict(ignored))


def _entries(folder: Path, hidden: list[str] | None = None) -> list[Path]:
    """Returns the visible entries of a folder; the names of the hidden ones are added to `hidden`."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError as error:
        raise NotFound(f"{folder}: there is no such folder") from error
    except NotADirectoryError as error:
        raise InvalidInput(f"{folder} is a file; a folder of images is needed") from error
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be read: {error.strerror}") from error
    if hidden is not None:
        hidden += [name for name in names if is_hidden(name)]
    return [folder / name for name in names if not is_hidden(name)]
