"""Lists the images of folders, files, globs, lists and stdin in a fixed order, without all names in memory."""

from __future__ import annotations

import fnmatch
import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cvserve.errors import InvalidInput, NotFound
from cvserve.preproc.header import IMAGE_SUFFIXES

# Images that preproc does not decode: they are read all the same, so that they are reported and not skipped.
LISTED_SUFFIXES = IMAGE_SUFFIXES | {".heic", ".heif", ".avif", ".jp2", ".jxl"}


@dataclass(frozen=True)
class Source:
    """Names an image. name: its name in the output. path: its file."""

    name: str
    path: Path


class Sources:
    """Lists the images that the words of a command line stand for, in a fixed order; can be iterated several times.

    A word is
        a folder     its images (by suffix) at any depth, sorted by name, hidden ones skipped, folder links
                     followed (see `walk`); with just one word the names are relative to the folder, else they begin
                     with it;
        a file       the file, whatever its suffix; a missing file is listed too, so that its error is reported;
        a glob       "photos/**/*.jpg", the files that match, sorted folder by folder;
        @list.txt    the lines of a file, one path each, relative to the working directory; `-` reads stdin.

    Memory grows with the largest single folder's names, not with their sum, and with the number of linked folders.

    Args:
        leave_out: folders that are skipped, since images are being written to them.

    Raises:
        InvalidInput: no word, or a folder or glob that lies in `leave_out`.
        NotFound: a word that looks like a folder, a list or a glob for which there is no file.
    """

    def __init__(
        self,
        words: Sequence[str | Path],
        *,
        stdin: BinaryIO | None = None,
        leave_out: Sequence[str | Path] = (),
    ) -> None:
        self._words = [str(word) for word in words]
        self._stdin = stdin
        self._leave_out = tuple(os.path.realpath(folder) for folder in leave_out)
        if not self._words:
            raise InvalidInput("no images are given; name a folder, files, a glob or @list.txt")
        for word in self._words:
            if word.startswith("@") and not os.path.isfile(word[1:]) and not os.path.exists(word):
                raise NotFound(f"there is no list of images at {word[1:]}")
            if word.endswith(("/", os.sep)) and not os.path.isdir(word):
                raise NotFound(f"there is no folder at {word}")
            if glob.has_magic(word) and not os.path.lexists(word) and next(_glob(word), None) is None:
                raise NotFound(f"no file matches {word}")
            root = _root(word)
            for folder, given in zip(self._leave_out, leave_out, strict=True):
                if root and _lies_in(root, folder):
                    raise InvalidInput(
                        f"{word}: these images lie in {given}, where new images are written; give another folder"
                    )

    def __iter__(self) -> Iterator[Source]:
        for word in self._words:
            yield from self._expand(word)

    def count(self) -> int | None:
        """Returns the number of images, by listing them once; None where that is not possible (stdin)."""
        return None if "-" in self._words else sum(1 for _ in self)

    def _expand(self, word: str) -> Iterator[Source]:
        if word == "-":
            for line in self._stdin or sys.stdin.buffer:
                yield from _listed(line)
        elif os.path.isdir(word):
            prefix = "" if len(self._words) == 1 else word
            for path in walk(word, self._leave_out):
                yield Source(os.path.join(prefix, os.path.relpath(path, word)), Path(path))
        elif os.path.lexists(word):
            yield Source(word, Path(word))
        elif word.startswith("@"):
            with open(word[1:], "rb") as lines:
                for line in lines:
                    yield from _listed(line)
        elif glob.has_magic(word):
            for path in _glob(word, self._leave_out):
                yield Source(path, Path(path))
        else:
            yield Source(word, Path(word))


def walk(folder: str, leave_out: Sequence[str] = ()) -> Iterator[str]:
    """Yields the paths of the images under `folder`, sorted by name within each folder, sub-folders in their place.

    Links to folders are followed, but no folder is searched twice: a folder that is found by its own name is not
    searched through a link as well, and of several links to the same folder the first one counts.

    The folders `leave_out` (real paths) are skipped. For a folder that cannot be listed its own path is yielded, so
    that its error is reported and the other folders are searched.
    """
    return _Walk(folder, leave_out).images(folder, linked=False)


class _Walk:
    """Walks through folders. It remembers only folders behind links, since a tree without links has no loops."""

    def __init__(self, folder: str, leave_out: Sequence[str]) -> None:
        self._root = Path(os.path.realpath(folder))
        self._leave_out = leave_out
        self._behind_links: set[tuple[int, int]] = set()

    def images(self, folder: str, *, linked: bool) -> Iterator[str]:
        """Yields the images under a folder. linked: whether the folder was reached through a link."""
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            yield folder
            return
        for name in names:
            if name.startswith("."):
                continue
            path = os.path.join(folder, name)
            if os.path.isdir(path):
                by_link = linked or os.path.islink(path)
                if self._is_new(path) if by_link else os.path.realpath(path) not in self._leave_out:
                    yield from self.images(path, linked=by_link)
            elif os.path.splitext(name)[1].lower() in LISTED_SUFFIXES:
                yield path

    def _is_new(self, path: str) -> bool:
        """Returns whether a folder behind a link is searched here."""
        if self._is_found_by_its_name(path) or any(_lies_in(path, left) for left in self._leave_out):
            return False
        try:
            status = os.stat(path)
        except OSError:
            return True  # listing it fails too, which is then reported
        identity = status.st_dev, status.st_ino
        if identity in self._behind_links:
            return False
        self._behind_links.add(identity)
        return True

    def _is_found_by_its_name(self, path: str) -> bool:
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self._root):
            return False
        return not any(part.startswith(".") for part in real.relative_to(self._root).parts)


def _glob(pattern: str, leave_out: Sequence[str] = ()) -> Iterator[str]:
    """Yields the files that glob.iglob(recursive=True) finds, sorted, with one folder's names in memory at a time.

    Nothing in the folders `leave_out` (real paths) is found.
    """
    parent, last = os.path.split(pattern)
    folders = sorted(glob.iglob(parent, recursive=True)) if glob.has_magic(parent) else [parent]
    for folder in folders:
        if any(_lies_in(folder or ".", left) for left in leave_out):
            continue
        if last == "**":
            yield from walk(folder or ".", leave_out)
            continue
        if not os.path.isdir(folder or "."):
            continue
        for name in sorted(fnmatch.filter(os.listdir(folder or "."), last)):
            path = os.path.join(folder, name)
            if not os.path.isdir(path) and (last.startswith(".") or not name.startswith(".")):
                yield path


def _root(word: str) -> str | None:
    """Returns the folder that a word searches: itself, or the part of a glob before its first wildcard, or None."""
    if os.path.isdir(word):
        return word
    if os.path.lexists(word) or not glob.has_magic(word):
        return None
    while glob.has_magic(word):
        word = os.path.dirname(word)
    return word or "."


def _lies_in(path: str, folder: str) -> bool:
    """Returns whether `path` is the folder (a real path) or below it."""
    return Path(os.path.realpath(path)).is_relative_to(folder)


def _listed(line: bytes) -> Iterator[Source]:
    text = os.fsdecode(line.rstrip(b"\r\n"))
    if text.strip():
        yield Source(text, Path(text))
