"""Reads data sets in the layout of Pascal VOC: one XML file per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cvserve.data.objects import Objects
from cvserve.data.readers.annotated import AnnotatedImage, AnnotatedSplit, ImageFiles, numbered, upright_size
from cvserve.data.readers.base import (
    SPLIT_FOLDERS,
    Reader,
    SplitFiles,
    check_exist,
    in_order,
    read_text,
    relative_name,
    unknown_class,
)
from cvserve.data.readers.boxes import BoxReport, check_boxes
from cvserve.data.readers.scan import subfolders
from cvserve.data.readers.voc_xml import VocAnnotation, read_voc
from cvserve.data.splits import ALL, SPLITS
from cvserve.errors import InvalidInput

_ANNOTATIONS = ("Annotations", "annotations")
_IMAGES = ("JPEGImages", "images", "Images")


@dataclass(frozen=True)
class _SplitFolders:
    """Holds where a split's files are.

    listed: the list in ImageSets/Main with the names of its images; None takes every annotation in the folder.
    """

    annotations: Path
    images: Path
    listed: Path | None


def recognise(root: Path, classes: Sequence[str] | None = None) -> SplitFiles[AnnotatedSplit] | None:
    """Finds the splits of a folder in this layout; None for other folders.

    With ImageSets/Main/{train,val,test}.txt these are the splits; without, the folder is not divided. Or each of
    train/, val/ (also valid/) and test/ holds images with their XML files beside them.

    Args:
        classes: label order of a trained model; None takes the names that objects of train have, sorted.
    """
    splits = _find(root)
    if not splits:
        return None
    known = None if classes is None else tuple(classes)

    def read(split: str) -> AnnotatedSplit:
        reference = splits.get("train") or splits[split]
        if known is not None:
            return _read(root, split, splits[split], known)
        if reference is splits[split]:
            return _read(root, split, reference, None)
        return _read(root, split, splits[split], _class_names(_annotations(reference)))

    return SplitFiles(root, tuple(splits), read)


def _find(root: Path) -> dict[str, _SplitFolders]:
    annotations = next((root / name for name in _ANNOTATIONS if any((root / name).glob("*.xml"))), None)
    if annotations is not None:
        images = next((root / name for name in _IMAGES if (root / name).is_dir()), annotations)
        lists = {name: root / "ImageSets" / "Main" / f"{name}.txt" for name in SPLITS}
        splits: dict[str, _SplitFolders] = {
            name: _SplitFolders(annotations, images, path) for name, path in lists.items() if path.is_file()
        }
        return splits or {ALL: _SplitFolders(annotations, images, None)}
    found: dict[str, _SplitFolders] = {}
    for folder in subfolders(root):
        name = SPLIT_FOLDERS.get(folder.name.lower())
        if name is not None and any(folder.glob("*.xml")):
            found[name] = _SplitFolders(folder, folder, None)
    return {name: found[name] for name in in_order(found)}


def _read(root: Path, split: str, files: _SplitFolders, classes: tuple[str, ...] | None) -> AnnotatedSplit:
    annotations = _annotations(files)
    classes = classes or _class_names(annotations)
    if not classes:
        raise InvalidInput(f"{files.annotations}: not one of the {len(annotations)} annotations of {split} has objects")
    stored, report = ImageFiles(files.images), BoxReport()
    labels = {name: label for label, name in enumerate(classes)}
    images = []
    for path, annotation in annotations.items():
        image = stored.find(path.stem) or files.images / (Path(annotation.filename).name or f"{path.stem}.jpg")
        name = relative_name(image, root)
        size = annotation.size or upright_size(image)
        images.append(AnnotatedImage(image, name, 0, size, _objects(path, annotation, size, name, labels, report)))
    check_exist(images, files.listed or files.annotations, split)
    return AnnotatedSplit(
        origin=str(root),
        split=split,
        classes=classes,
        category_ids=tuple(range(1, len(classes) + 1)),
        images=numbered(images),
        dropped=tuple(report.dropped),
        clipped=tuple(report.clipped),
        note=_without_annotation(stored, annotations) if files.listed is None else "",
    )


def _annotations(files: _SplitFolders) -> dict[Path, VocAnnotation]:
    """Returns the annotations of a split by their files, in the order of its list or of their names."""
    if files.listed is None:
        paths = sorted(files.annotations.glob("*.xml"))
    else:
        lines = read_text(files.listed).splitlines()
        # The lists of single classes have a second column; names may hold dots.
        paths = [files.annotations / f"{line.split()[0]}.xml" for line in lines if line.split()]
        for number, path in enumerate(paths, 1):
            if not path.is_file():
                raise InvalidInput(f"{files.listed}, entry {number}: there is no annotation {path}")
    return {path: read_voc(path) for path in paths}


def _class_names(annotations: dict[Path, VocAnnotation]) -> tuple[str, ...]:
    return tuple(sorted({item.name for annotation in annotations.values() for item in annotation.objects}))


def _objects(
    path: Path,
    annotation: VocAnnotation,
    size: tuple[int, int] | None,
    image: str,
    labels: dict[str, int],
    report: BoxReport,
) -> Objects:
    for item in annotation.objects:
        if item.name not in labels:
            raise unknown_class(f"{path}, line {item.line}", item.name, labels)
    names = [f"{item.name} ({path.name}, line {item.line})" for item in annotation.objects]
    boxes, indices = check_boxes([item.box for item in annotation.objects], size, image, names, report)
    used = [annotation.objects[index] for index in indices]
    return Objects.of(boxes, [labels[item.name] for item in used], [item.difficult for item in used])


def _without_annotation(files: ImageFiles, annotations: dict[Path, VocAnnotation]) -> str:
    described = {path.stem for path in annotations}
    number = sum(path.stem not in described for path in files)
    return f"{number} images without an annotation file are not used" if number else ""


READER = Reader(
    task="detection",
    looked_for="Annotations/*.xml beside JPEGImages/ (Pascal VOC), or *.xml beside the images of train/ and val/",
    recognise=recognise,
)
