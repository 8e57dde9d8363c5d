"""Data sets in the layout of Pascal VOC: one XML file an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cvserve.data.objects import Objects
from cvserve.data.readers.annotated import AnnotatedImage, AnnotatedSplit, ImageFiles, check_images
from cvserve.data.readers.boxes import BoxReport, check_boxes
from cvserve.data.readers.class_folder import ALL, SPLIT_FOLDERS
from cvserve.data.readers.scan import subfolders
from cvserve.data.readers.splits import Sides, label_numbers, numbered, unknown_class
from cvserve.data.readers.splitting import SPLITS
from cvserve.data.readers.voc_xml import VocAnnotation, read_voc
from cvserve.errors import InvalidInput
from cvserve.preproc import read_header
from cvserve.preproc.source import read_file

LOOKED_FOR = "Annotations/*.xml beside JPEGImages/ (Pascal VOC), or *.xml beside the images of train/ and val/"

_ANNOTATIONS = ("Annotations", "annotations")
_IMAGES = ("JPEGImages", "images", "Images")


@dataclass(frozen=True)
class _Side:
    """Where a side's files are. listed: the names in a list of ImageSets/Main; None takes every annotation there is."""

    annotations: Path
    images: Path
    listed: Path | None


def find_voc(root: Path, classes: Sequence[str] | None = None) -> Sides[AnnotatedSplit] | None:
    """The sides of a folder in this layout; None for other folders.

    With ImageSets/Main/{train,val,test}.txt these are the sides; without, the folder is in one piece. Or each of
    train/, val/ (also valid/) and test/ holds images with their XML files beside them.

    Args:
        classes: label order of a trained model; None takes the names that objects of train have, sorted.
    """
    sides = _find(root)
    if not sides:
        return None
    known = None if classes is None else tuple(classes)

    def read(split: str) -> AnnotatedSplit:
        reference = sides.get("train") or sides[split]
        if known is not None:
            return _read(root, split, sides[split], known)
        if reference is sides[split]:
            return _read(root, split, reference, None)
        return _read(root, split, sides[split], _class_names(_annotations(reference)))

    return Sides(root, tuple(sides), read)


def _find(root: Path) -> dict[str, _Side]:
    annotations = next((root / name for name in _ANNOTATIONS if any((root / name).glob("*.xml"))), None)
    if annotations is not None:
        images = next((root / name for name in _IMAGES if (root / name).is_dir()), annotations)
        lists = {name: root / "ImageSets" / "Main" / f"{name}.txt" for name in SPLITS}
        sides: dict[str, _Side] = {
            name: _Side(annotations, images, path) for name, path in lists.items() if path.is_file()
        }
        return sides or {ALL: _Side(annotations, images, None)}
    found: dict[str, _Side] = {}
    for folder in subfolders(root):
        name = SPLIT_FOLDERS.get(folder.name.lower())
        if name is not None and any(folder.glob("*.xml")):
            found[name] = _Side(folder, folder, None)
    return {name: found[name] for name in SPLITS if name in found}


def _read(root: Path, split: str, side: _Side, classes: tuple[str, ...] | None) -> AnnotatedSplit:
    annotations = _annotations(side)
    classes = classes or _class_names(annotations)
    if not classes:
        raise InvalidInput(f"{side.annotations}: not one of the {len(annotations)} annotations of {split} has objects")
    files, report, labels = ImageFiles(side.images), BoxReport(), label_numbers(classes)
    images = []
    for path, annotation in annotations.items():
        image = files.find(path.stem) or side.images / (Path(annotation.filename).name or f"{path.stem}.jpg")
        name = image.relative_to(root).as_posix() if image.is_relative_to(root) else str(image)
        size = annotation.size or _stored_size(image)
        images.append(AnnotatedImage(image, name, 0, size, _objects(path, annotation, size, name, labels, report)))
    check_images(images, side.listed or side.annotations, split)
    return AnnotatedSplit(
        str(root),
        split,
        classes,
        tuple(range(1, len(classes) + 1)),
        numbered(images),
        tuple(report.dropped),
        tuple(report.clipped),
        _without_annotation(files, annotations) if side.listed is None else "",
    )


def _annotations(side: _Side) -> dict[Path, VocAnnotation]:
    """The annotations of a side by their files, in the order of its list or of their names."""
    if side.listed is None:
        paths = sorted(side.annotations.glob("*.xml"))
    else:
        try:
            lines = side.listed.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{side.listed} cannot be read: {error}") from error
        # The lists of single classes have a second column; names may hold dots.
        paths = [side.annotations / f"{line.split()[0]}.xml" for line in lines if line.split()]
        for number, path in enumerate(paths, 1):
            if not path.is_file():
                raise InvalidInput(f"{side.listed}, entry {number}: there is no annotation {path}")
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
    boxes, kept = check_boxes([item.box for item in annotation.objects], size, image, names, report)
    used = [annotation.objects[index] for index in kept]
    return Objects.of(boxes, [labels[item.name] for item in used], [item.difficult for item in used])


def _stored_size(image: Path) -> tuple[int, int] | None:
    """(width, height) of the upright image by its header; None where it cannot be read, which a pipeline reports."""
    try:
        return read_header(read_file(image, str(image)), name=str(image)).size
    except InvalidInput:
        return None


def _without_annotation(files: ImageFiles, annotations: dict[Path, VocAnnotation]) -> str:
    described = {path.stem for path in annotations}
    number = sum(path.stem not in described for path in files)
    return f"{number} images without an annotation file are not used" if number else ""
