"""Captions in COCO's JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cvserve.data.readers.captioned import CaptionedSplit, CaptionProblem, image_folder, make_split, usable
from cvserve.data.readers.class_folder import ALL, SPLIT_FOLDERS
from cvserve.data.readers.splits import Sides
from cvserve.data.readers.splitting import SPLITS
from cvserve.errors import InvalidInput

LOOKED_FOR = "captions_{train,val}*.json or captions.json, in the folder or in annotations/ (COCO)"

_NAME = re.compile(r"captions_(train|valid(?:ation)?|val|test)[-_]?\d*")


def find_coco_captions(root: Path) -> Sides[CaptionedSplit] | None:
    """The sides of a folder with COCO's caption files; None for other folders.

    captions_<side>*.json, or one captions.json for all images, in the folder or in annotations/; the images in
    <side>*/, images/<side>*/, images/ or the folder itself.
    """
    files: dict[str, Path] = {}
    whole: Path | None = None
    for folder in (root, root / "annotations"):
        for path in sorted(folder.glob("captions*.json")) if folder.is_dir() else []:
            match = _NAME.fullmatch(path.stem)
            if match:
                files.setdefault(SPLIT_FOLDERS[match[1]], path)
            elif path.stem == "captions":
                whole = whole or path
    if not files and whole is not None:
        files = {ALL: whole}
    if not files:
        return None
    names = (ALL,) if ALL in files else tuple(name for name in SPLITS if name in files)
    return Sides(root, names, lambda split: read_coco_captions(files[split], split, root))


def read_coco_captions(path: Path, split: str = ALL, root: Path | None = None) -> CaptionedSplit:
    """One file in COCO's caption format: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}.

    Images and captions that cannot be used are left out, and reported (log "cvserve.data.readers.captioned", and
    `dropped`).

    Args:
        root: the data set's folder, by default the file's.

    Raises:
        InvalidInput: it is no such file, or nothing of it can be used.
    """
    root = root or path.parent
    content = _load(path)
    dropped: list[CaptionProblem] = []
    captions: dict[str, list[str]] = {}
    name_of: dict[Any, str] = {}
    for number, image in enumerate(content["images"]):
        key, name = _field(image, "id"), _field(image, "file_name")
        if not _is_key(key) or not isinstance(name, str) or not name:
            dropped.append(CaptionProblem(path.name, f"images[{number}]", "has no id or no file_name"))
        elif key in name_of or name in captions:
            dropped.append(CaptionProblem(path.name, f"images[{number}]", f"is there twice ({key}, {name})"))
        else:
            name_of[key], captions[name] = name, []
    for number, item in enumerate(content["annotations"]):
        key, caption = _field(item, "image_id"), _field(item, "caption")
        if not _is_key(key) or key not in name_of:
            dropped.append(
                CaptionProblem(path.name, f"annotations[{number}]", f"is of image {key}, which is not there")
            )
        elif not usable(caption):
            dropped.append(CaptionProblem(name_of[key], f"annotations[{number}]", "has no words"))
        else:
            captions[name_of[key]].append(" ".join(caption.split()))
    side = re.sub("^captions_?", "", path.stem)
    folders = [folder / part for part in (side, split) for folder in (root, root / "images") if part]
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
            raise InvalidInput(f"{path}: is no file of captions: it has no list {key!r}")
    return dict(content)


def _field(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else None


def _is_key(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)
