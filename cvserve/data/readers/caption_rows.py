"""Reads captions from text files with one caption per line: those of Flickr8k and Flickr30k, and CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from cvserve.data.problems import Problem
from cvserve.data.readers.base import SPLIT_FOLDERS, Reader, SplitFiles, in_order, read_text
from cvserve.data.readers.captioned import CaptionedSplit, has_words, image_folder, make_split
from cvserve.data.splits import ALL
from cvserve.errors import InvalidInput

_UNDIVIDED = ("captions.csv", "captions.txt", "results.csv")
_IMAGE = frozenset({"image", "image_name", "file_name", "filename", "file", "picture"})
_CAPTION = frozenset({"caption", "comment", "text", "sentence"})
# As the two data sets unpack, and as others have packed them.
_FOLDERS = (
    *("images", "Images", "flickr30k_images", "flickr30k-images", "flickr30k_images/flickr30k_images"),
    *("Flicker8k_Dataset", "Flickr8k_Dataset", "Flickr8k_Dataset/Flicker8k_Dataset", "."),
)
_LISTS = {"trainimages": "train", "devimages": "val", "testimages": "test"}

Row = tuple[int, str, str]
"""Line, image, caption."""


def recognise(root: Path, classes: Sequence[str] | None = None) -> SplitFiles[CaptionedSplit] | None:
    """Finds the splits of a folder with one caption per line; None for other folders.

    Of Flickr8k the lists *trainImages.txt, *devImages.txt and *testImages.txt name the splits, where they exist.
    Captions have no `classes`.
    """
    files: dict[str, Path] = {}
    for path in sorted(root.glob("captions_*.csv")):
        if name := SPLIT_FOLDERS.get(path.stem.removeprefix("captions_")):
            files.setdefault(name, path)
    if files:
        return SplitFiles(root, in_order(files), lambda split: _read(files[split], split, root))
    table = next((root / name for name in _UNDIVIDED if (root / name).is_file()), None)
    tokens = sorted([*root.glob("*.token"), *root.glob("*.token.txt")])
    tokens = [path for path in tokens if "lemma" not in path.name]  # of Flickr8k, with words replaced by their stems
    file = table or next(iter(tokens), None)
    if file is None:
        return None
    lists = _lists(root)
    if not lists:
        return SplitFiles(root, (ALL,), partial(_read, file, root=root))
    return SplitFiles(root, in_order(lists), lambda split: _read(file, split, root, lists[split]))


def _lists(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(root.glob("*.txt")):
        for ending, split in _LISTS.items():
            if path.stem.lower().endswith(ending):
                found.setdefault(split, path)
    return found


def _read(path: Path, split: str, root: Path, only: Path | None = None) -> CaptionedSplit:
    """Reads one file. Lines and images that cannot be used are left out, and reported in `dropped`.

    Args:
        only: a file with the names of this split's images, one per line.

    Raises:
        InvalidInput: it cannot be read, has no such columns, or none of its captions can be used.
    """
    dropped: list[Problem] = []
    is_tokens = path.name.endswith((".token", ".token.txt"))
    rows = _token_rows(path, dropped) if is_tokens else _csv_rows(path, dropped)
    wanted = None if only is None else {line.strip() for line in _lines(only) if line.strip()}
    captions: dict[str, list[str]] = {} if wanted is None else {name: [] for name in sorted(wanted)}
    for line, name, caption in rows:
        if wanted is not None and name not in wanted:
            continue
        if has_words(caption):
            captions.setdefault(name, []).append(" ".join(caption.split()))
        else:
            dropped.append(Problem(path.name, f"line {line}", "has no words"))
    folder = image_folder(
        captions, [*(root / split / name for name in ("images", ".")), *(root / name for name in _FOLDERS)]
    )
    return make_split(root, path, split, captions, folder, dropped)


def _token_rows(path: Path, dropped: list[Problem]) -> Iterator[Row]:
    """Yields the captions of lines "image.jpg#0<tab>caption"."""
    for number, line in enumerate(_lines(path), start=1):
        match = re.fullmatch(r"(?P<name>[^\t]+?)#\d+\t(?P<caption>.*)", line.rstrip("\r\n"))
        if match:
            yield number, match["name"], match["caption"]
        elif line.strip():
            dropped.append(Problem(path.name, f"line {number}", "is not image#number, a tab and a caption"))


def _csv_rows(path: Path, dropped: list[Problem]) -> Iterator[Row]:
    """Yields the captions of a table whose header names a column for the image and one for the caption.

    Columns are separated by commas, "|", tabs or ";".
    """
    lines = _lines(path)
    header = lines[0] if lines else ""
    # Captions with "|" between are not quoted (Flickr30k's results.csv), and have quotation marks of their own.
    delimiter = max("|\t;,", key=header.count)
    if delimiter == "|":
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter)
    columns = [name.strip().lower() for name in next(reader, [])]
    image = next((index for index, name in enumerate(columns) if name in _IMAGE), None)
    caption = next((index for index, name in enumerate(columns) if name in _CAPTION), None)
    if image is None or caption is None:
        raise InvalidInput(
            f"{path}: its first line is {header.strip()[:80]!r}, where columns such as image and caption belong"
        )
    try:
        for cells in reader:
            if len(cells) > max(image, caption) and cells[image].strip():
                yield reader.line_num, cells[image].strip(), _text(cells, columns, caption, delimiter)
            elif cells:
                dropped.append(
                    Problem(path.name, f"line {reader.line_num}", f"has {len(cells)} cells, not {len(columns)}")
                )
    except csv.Error as error:
        raise InvalidInput(f"{path}, line {reader.line_num}: is not CSV ({error})") from error


def _text(cells: list[str], columns: list[str], caption: int, delimiter: str) -> str:
    """Returns the caption; one in the last column may contain the delimiter without being quoted."""
    is_last = caption == len(columns) - 1
    return delimiter.join(cells[caption:]) if is_last else cells[caption]


def _lines(path: Path) -> list[str]:
    return read_text(path, encoding="utf-8-sig").splitlines(keepends=True)


READER = Reader(
    task="captioning",
    looked_for=(
        "captions_{train,val,test}.csv, captions.csv, captions.txt or results.csv with the columns image and caption; "
        "*.token or *.token.txt (Flickr8k, Flickr30k)"
    ),
    recognise=recognise,
)
