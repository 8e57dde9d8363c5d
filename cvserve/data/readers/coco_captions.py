"""Reads captions in COCO's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvserve.data.problems import Problem
from cvserve.data.readers.base import SPLIT_FOLDERS, Reader, SplitFiles, in_order
from cvserve.data.readers.captioned import CaptionedSplit, has_words, image_folder, make_split
from cvserve.data.splits import ALL
from cvserve.errors import InvalidInput

_NAME = re.compile(r"captions_(train|valid(?:ation)?|val|test)[-_]?\d*")


def recognise(root: Path, classes: Sequence[str] | None = None) -> SplitFiles[CaptionedSplit] | None:
    """Finds the splits of a folder with COCO's caption files; None for other folders.

    captions_<split>*.json, or one captions.json for all images, in the folder or in annotations/; the images in
    <split>*/, images/<split>*/, images/ or the folder itself. Captions have no `classes`.
    """
    files: dict[str, Path] = {}
    undivided: Path | None = None
    for folder in (root, root / "annotations"):
        for path in sorted(folder.glob("captions*.json")) if folder.is_dir() else []:
            match = _NAME.fullmatch(path.stem)
            if match:
                files.setdefault(SPLIT_FOLDERS[match[1]], path)
            elif path.stem == "captions":
                undivided = undivided or path
    if not files and undivided is not None:
        files = {ALL: undivided}
    if not files:
        return None
    return SplitFiles(root, in_order(files), lambda split: read_coco_captions(files[split], split, root))


def read_coco_captions(path: Path, split: str = ALL, root: Path | None = None) -> CaptionedSplit:
    """Reads one file in COCO's caption format.

    That is {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}.

    Images and captions that cannot be used are left out, and reported in `dropped`.

    Args:
        root: the data set's folder, by default the file's.

    Raises:
        InvalidInput: it is no such file, or none of its captions can be used.
    """
    root = root or path.parent
    content = _load(path)
    dropped: list[Problem] = []
    captions: dict[str, list[str]] = {}
    name_of: dict[Any, str] = {}
    for number, image in enumerate(content["images"]):
        key, name = _field(image, "id"), _field(image, "file_name")
        if not _is_key(key) or not isinstance(name, str) or not name:
            dropped.append(Problem(path.name, f"images[{number}]", "has no id or no file_name"))
        elif key in name_of or name in captions:
            dropped.append(Problem(path.name, f"images[{number}]", f"is there twice ({key}, {name})"))
        else:
            name_of[key], captions[name] = name, []
    for number, item in enumerate(content["annotations"]):
        key, caption = _field(item, "image_id"), _field(item, "caption")
        if not _is_key(key) or key not in name_of:
            dropped.append(Problem(path.name, f"annotations[{number}]", f"is of image {key}, which is not there"))
        elif not has_words(caption):
            dropped.append(Problem(name_of[key], f"annotations[{number}]", "has no words"))
        else:
            captions[name_of[key]].append(" ".join(caption.split()))
    suffix = re.sub("^captions_?", "", path.stem)
    folders = [folder / part for part in (suffix, split) for folder in (root, root / "images") if part]
    folder = image_folder(captions, [*folders, root / "images", path.parent / "images", root])
    own = {name: key for key, name in name_of.items()}
    numbers = own if all(type(key) is int for key in name_of) else None
    return make_split(root, path, split, captions, folder, dropped, numbers)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not valid JSON ({error})") from error
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise InvalidInput(f"{path}: is not a file of captions: it has no list {key!r}")
    return dict(content)


def _field(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else None


def _is_key(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


READER = Reader(
    task="captioning",
    looked_for="captions_{train,val}*.json or captions.json, in the folder or in annotations/ (COCO)",
    recognise=recognise,
)
