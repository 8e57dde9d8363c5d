"""Captions a line each: the token files of Flickr8k and Flickr30k, and CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from cvserve.data.readers.captioned import CaptionedSplit, CaptionProblem, image_folder, make_split, usable
from cvserve.data.readers.class_folder import ALL, SPLIT_FOLDERS
from cvserve.data.readers.splits import Sides
from cvserve.data.readers.splitting import SPLITS
from cvserve.errors import InvalidInput

LOOKED_FOR = (
    "captions_{train,val,test}.csv, captions.csv, captions.txt or results.csv with the columns image and caption; "
    "*.token or *.token.txt (Flickr8k, Flickr30k)"
)

_WHOLE = ("captions.csv", "captions.txt", "results.csv")
_IMAGE = frozenset({"image", "image_name", "file_name", "filename", "file"})
_CAPTION = frozenset({"caption", "comment", "text", "sentence"})
# As the two data sets unpack, and as others have packed them.
_FOLDERS = (
    *("images", "Images", "flickr30k_images", "flickr30k-images", "flickr30k_images/flickr30k_images"),
    *("Flicker8k_Dataset", "Flickr8k_Dataset", "Flickr8k_Dataset/Flicker8k_Dataset", "."),
)
_LISTS = {"trainimages": "train", "devimages": "val", "testimages": "test"}

Row = tuple[int, str, str]
"""Line, image, caption."""


def find_caption_rows(root: Path) -> Sides[CaptionedSplit] | None:
    """The sides of a folder with captions a line each; None for other folders.

    Of Flickr8k the lists *trainImages.txt, *devImages.txt and *testImages.txt are the sides, where they are there.
    """
    files: dict[str, Path] = {}
    for path in sorted(root.glob("captions_*.csv")):
        if name := SPLIT_FOLDERS.get(path.stem.removeprefix("captions_")):
            files.setdefault(name, path)
    if files:
        return Sides(
            root, tuple(name for name in SPLITS if name in files), lambda split: _read(files[split], split, root)
        )
    whole = next((root / name for name in _WHOLE if (root / name).is_file()), None)
    tokens = sorted([*root.glob("*.token"), *root.glob("*.token.txt")])
    tokens = [path for path in tokens if "lemma" not in path.name]  # of Flickr8k, words made their stems
    file = whole or next(iter(tokens), None)
    if file is None:
        return None
    lists = _lists(root)
    if not lists:
        return Sides(root, (ALL,), partial(_read, file, root=root))
    return Sides(
        root, tuple(name for name in SPLITS if name in lists), lambda split: _read(file, split, root, lists[split])
    )


def _lists(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(root.glob("*.txt")):
        for ending, side in _LISTS.items():
            if path.stem.lower().endswith(ending):
                found.setdefault(side, path)
    return found


def _read(path: Path, split: str, root: Path, only: Path | None = None) -> CaptionedSplit:
    """One file. Lines and images that cannot be used are left out, and reported.

    Args:
        only: a file with the names of this side's images, a line each.

    Raises:
        InvalidInput: it cannot be read, has no such columns, or nothing of it can be used.
    """
    dropped: list[CaptionProblem] = []
    is_tokens = path.name.endswith((".token", ".token.txt"))
    rows = _token_rows(path, dropped) if is_tokens else _csv_rows(path, dropped)
    wanted = None if only is None else {line.strip() for line in _lines(only) if line.strip()}
    captions: dict[str, list[str]] = {} if wanted is None else {name: [] for name in sorted(wanted)}
    for line, name, caption in rows:
        if wanted is not None and name not in wanted:
            continue
        if usable(caption):
            captions.setdefault(name, []).append(" ".join(caption.split()))
        else:
            dropped.append(CaptionProblem(path.name, f"line {line}", "has no words"))
    folder = image_folder(
        captions, [*(root / split / name for name in ("images", ".")), *(root / name for name in _FOLDERS)]
    )
    return make_split(root, path, split, captions, folder, dropped)


def _token_rows(path: Path, dropped: list[CaptionProblem]) -> Iterator[Row]:
    """Lines "image.jpg#0<tab>caption"."""
    for number, line in enumerate(_lines(path), start=1):
        match = re.fullmatch(r"(?P<name>[^\t]+?)#\d+\t(?P<caption>.*)", line.rstrip("\r\n"))
        if match:
            yield number, match["name"], match["caption"]
        elif line.strip():
            dropped.append(CaptionProblem(path.name, f"line {number}", "is not image#number, a tab and a caption"))


def _csv_rows(path: Path, dropped: list[CaptionProblem]) -> Iterator[Row]:
    """Rows under a header with a column for the image and one for the caption, between commas, "|", tabs or ";"."""
    lines = _lines(path)
    header = lines[0] if lines else ""
    # Captions with "|" between are not quoted (Flickr30k's results.csv), and have quotation marks of their own.
    delimiter = max("|\t;,", key=header.count)
    if delimiter == "|":
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter)
    columns = [name.strip().lower() for name in next(reader, [])]
    image = next((place for place, name in enumerate(columns) if name in _IMAGE), None)
    caption = next((place for place, name in enumerate(columns) if name in _CAPTION), None)
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
                    CaptionProblem(path.name, f"line {reader.line_num}", f"has {len(cells)} cells, not {len(columns)}")
                )
    except csv.Error as error:
        raise InvalidInput(f"{path}, line {reader.line_num}: is no CSV ({error})") from error


def _text(cells: list[str], columns: list[str], caption: int, delimiter: str) -> str:
    """The caption; one in the last column may have the delimiter in it without being quoted."""
    is_last = caption == len(columns) - 1
    return delimiter.join(cells[caption:]) if is_last else cells[caption]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from error
