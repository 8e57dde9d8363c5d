"""Regions of a data set: found once, kept in a file, brought to a network's input."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvserve.artifact import PreprocSpec
from cvserve.data import open_dataset
from cvserve.data.augment.augment import Augmentation
from cvserve.data.pipelines import proposals
from cvserve.data.pipelines.detection import DetectionPipeline
from cvserve.data.pipelines.proposals import (
    batches_with_proposals,
    find_proposals,
    in_input,
    read_proposals,
    write_proposals,
)
from cvserve.errors import InvalidInput, NotFound
from cvserve.preproc import Geometry, resize

SPEC = PreprocSpec(height=64, width=64, resize="letterbox")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images with an object each, one of them as large as a photo, as YOLO txt."""
    for split in ("train", "val"):
        for part in ("images", "labels"):
            (tmp_path / part / split).mkdir(parents=True)
        for index, size in enumerate([(40, 80), (1000, 600), (30, 30)]):
            image = np.full((*size, 3), 40 * index, np.uint8)
            cv2.imwrite(str(tmp_path / "images" / split / f"{index}.png"), image)
            (tmp_path / "labels" / split / f"{index}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("names: [thing]\ntrain: images/train\nval: images/val\n")
    return tmp_path


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Stands in for OpenCV's contributed modules: the left half, then the whole. Tells the sizes that it saw."""
    seen: list[tuple[int, ...]] = []

    def find(pixels: np.ndarray, method: str, count: int) -> np.ndarray:
        assert method == "edge_boxes"
        seen.append(pixels.shape)
        height, width = pixels.shape[:2]
        return np.array([[0, 0, width / 2, height], [0, 0, width, height]], np.float32)[:count]

    monkeypatch.setattr(proposals, "find_regions", find)
    return seen


def test_regions_are_returned_in_pixels_of_the_original(folder: Path, searched: list[tuple[int, ...]]) -> None:
    source = open_dataset(folder, "train", task="detection")
    found = find_proposals(source, "edge_boxes", 5, workers=1)
    assert searched == [(40, 80, 3), (500, 300, 3), (30, 30, 3)]
    assert list(found) == [source.name(index) for index in range(3)]
    np.testing.assert_allclose(found[source.name(1)], [[0, 0, 300, 1000], [0, 0, 600, 1000]])


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_images_in_the_file_are_not_searched_again(folder: Path, searched: list[tuple[int, ...]], suffix: str) -> None:
    source = open_dataset(folder, "train", task="detection")
    file = folder / "kept" / f"edge_boxes{suffix}"
    first = find_proposals(source, "edge_boxes", 5, file=file)
    assert len(searched) == 3
    known = read_proposals(file)
    known.pop(source.name(2))
    write_proposals(file, known)
    second = find_proposals(source, "edge_boxes", 1, file=file)
    assert len(searched) == 4
    for name, boxes in second.items():
        np.testing.assert_allclose(boxes, first[name][:1], atol=0.01)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.json", "{", "not a file of proposals"),
        ("a.json", "[1]", "must hold an object of image names and boxes, not a list"),
        ("a.json", '{"x.jpg": [[1, 2, 3]]}', "x.jpg: boxes are four numbers"),
        ("a.json", '{"x.jpg": [["a", 2, 3, 4]]}', "x.jpg: boxes are four numbers"),
        ("a.json", '{"x.jpg": {"a": 1}}', "x.jpg: boxes are four numbers"),
        ("a.json", '{"x.jpg": [[1, 2, NaN, 4]]}', "x.jpg: boxes are four numbers"),
        ("a.json", '{"x.jpg": [[10, 20, 5, 5]]}', "x.jpg: a box has its second corner left of"),
        ("a.npz", "no zip", "not a file of proposals"),
        ("a.txt", "", "they are .json or .npz"),
    ],
)
def test_a_file_in_another_format_is_one_sentence(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInput, match=sentence):
        read_proposals(tmp_path / name)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file of proposals at"):
        read_proposals(tmp_path / "none.json")


def test_images_may_have_no_regions(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"x": [], "y": [[0, 0, 1.5, 2]]}))
    read = read_proposals(tmp_path / "a.json")
    assert read["x"].shape == (0, 4)
    np.testing.assert_array_equal(read["y"], [[0, 0, 1.5, 2]])


def test_regions_go_where_their_pixels_go() -> None:
    # 80 x 40 into 64 x 64: four fifths of the size, 16 pixels above.
    geometry = resize(np.zeros((40, 80, 3), np.uint8), SPEC)[1]
    given = np.array([[10, 10, 20, 20], [-5, 0, 200, 40], [90, 0, 95, 10], [0, 0, 10, 10]], np.float32)
    placed = in_input(given, geometry, 64, 64, 4)
    np.testing.assert_allclose(placed, [[8, 24, 16, 32], [0, 16, 64, 48], [0, 16, 8, 24], [0, 0, 0, 0]], atol=1e-5)
    np.testing.assert_array_equal(in_input(given, Geometry(80, 40), 64, 64, 1), [[10, 10, 20, 20]])


def test_batches_for_a_network_of_two_inputs(folder: Path, searched: list[tuple[int, ...]]) -> None:
    source = open_dataset(folder, "train", task="detection")
    found = find_proposals(source, "edge_boxes", 5)
    pipeline = DetectionPipeline(source, SPEC, batch_size=2)
    batches = list(batches_with_proposals(pipeline, found, 3, epoch=0))
    assert [images.shape[0] for (images, _), _ in batches] == [2, 1]
    (_, given), (boxes, labels) = batches[0]
    np.testing.assert_allclose(given[0], [[0, 16, 32, 48], [0, 16, 64, 48], [0, 0, 0, 0]], atol=1e-4)
    np.testing.assert_allclose(boxes[0], [[16, 24, 48, 40]], atol=0.1)
    assert labels.tolist() == [[0], [0]]


def test_regions_that_would_not_move_are_refused(folder: Path, searched: list[tuple[int, ...]]) -> None:
    source = open_dataset(folder, "train", task="detection")
    moving = DetectionPipeline(source, SPEC, batch_size=2, augmentation=Augmentation(flip=0.5))
    with pytest.raises(InvalidInput, match="do not move with the pixels"):
        next(batches_with_proposals(moving, {}, 3, epoch=0))
    with pytest.raises(InvalidInput, match="has no proposals"):
        next(batches_with_proposals(DetectionPipeline(source, SPEC, batch_size=2), {}, 3, epoch=0))
