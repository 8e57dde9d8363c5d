"""Detection scores: pycocotools by hand on the written files as the oracle, and numbers that are known by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_by_hand import by_hand

from cvserve.data.objects import Objects
from cvserve.errors import InvalidInput
from cvserve.evaluation.coco_format import coco_ground_truth, coco_results
from cvserve.evaluation.detection import detection_report
from cvserve.postproc import DetectionResult

NAMES = ("apple", "pear", "plum")
NUMBERS = (40, 7, 90)  # not in order, as some data sets have them
SIZES = (12.0, 50.0, 160.0)  # small, medium, large


def scene(rng: np.random.Generator, misses: float) -> tuple[Objects, DetectionResult]:
    """Returns objects of all sizes, some of them crowds, and results that are near, doubled, wrong, or missing."""
    count = int(rng.integers(0, 9))
    corners = rng.uniform(0, 400, (count, 2))
    sides = rng.choice(SIZES, count)[:, None] * rng.uniform(0.7, 1.3, (count, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1)
    labels = rng.integers(0, len(NAMES), count)
    areas = sides.prod(axis=1) * rng.uniform(0.5, 1, count)  # as of masks
    ground_truth = Objects.of(boxes, labels, rng.random(count) < 0.15, areas)
    found, classes = [], []
    for box, label in zip(ground_truth.boxes, labels, strict=True):
        for _ in range(int(rng.random() > misses) + int(rng.random() < 0.2)):
            found.append(box + rng.normal(0, 0.08, 4) * (box[2] - box[0]))
            classes.append(label if rng.random() < 0.9 else rng.integers(0, len(NAMES)))
    for _ in range(int(rng.integers(0, 4))):
        corner = rng.uniform(0, 400, 2)
        found.append(np.concatenate([corner, corner + rng.uniform(5, 200, 2)]))
        classes.append(rng.integers(0, len(NAMES)))
    scores = np.sort(rng.uniform(0, 1, len(found)).astype(np.float32))[::-1]
    made = np.array(found, np.float32).reshape(-1, 4)
    made[:, 2:] = np.maximum(made[:, 2:], made[:, :2] + 1)
    return ground_truth, DetectionResult(made, scores, np.array(classes, np.int32), NAMES, 600, 600)


@pytest.mark.parametrize("seed", range(3))
def test_equals_pycocotools_on_the_written_files(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    objects, results = (list(part) for part in zip(*(scene(rng, 0.2 * seed) for _ in range(25)), strict=True))
    image_ids = rng.permutation(10_000)[:25].tolist()
    (tmp_path / "truth.json").write_text(json.dumps(coco_ground_truth(objects, image_ids, NUMBERS, NAMES)))
    (tmp_path / "found.json").write_text(json.dumps(coco_results(results, image_ids, NUMBERS)))
    report = detection_report(results, objects, NAMES, image_ids, NUMBERS)
    stats = by_hand(tmp_path / "truth.json", tmp_path / "found.json")
    ours = [report.map, report.map50, report.map75, report.map_small, report.map_medium, report.map_large]
    assert 0.1 < report.map < 0.9
    np.testing.assert_allclose(ours, stats[:6], atol=1e-9)
    for row, number in zip(report.classes, NUMBERS, strict=True):
        own = by_hand(tmp_path / "truth.json", tmp_path / "found.json", number)
        assert (row.ap, row.ap50) == pytest.approx((own[0], own[1]), abs=1e-9)
    # Numbers are names: they change nothing.
    other = detection_report(results, objects, NAMES)
    assert (other.map, other.map_small, other.voc_map50) == pytest.approx(
        (report.map, report.map_small, report.voc_map50)
    )
    assert [row.objects for row in other.classes] == [row.objects for row in report.classes]


def exact(ground_truth: Objects, **changes: Any) -> DetectionResult:
    values = {
        "boxes": ground_truth.boxes,
        "scores": np.linspace(0.9, 0.5, len(ground_truth)).astype(np.float32),
        "indexes": ground_truth.labels,
        "names": NAMES,
        "image_width": 100,
        "image_height": 100,
    }
    return DetectionResult(**(values | changes))


def test_all_found() -> None:
    ground_truth = Objects.of([[0, 0, 10, 10], [20, 20, 60, 60]], [0, 2])
    report = detection_report([exact(ground_truth)], [ground_truth], NAMES)
    assert (report.map, report.map50, report.voc_map50, report.images) == pytest.approx((1, 1, 1, 1))
    assert (report.map_small, report.map_medium) == pytest.approx((1, 1))
    assert report.map_large is None
    assert [(row.label, row.objects, row.voc_ap50) for row in report.classes] == [
        ("apple", 1, 1),
        ("pear", 0, None),
        ("plum", 1, 1),
    ]
    assert report.classes[2].ap50 == pytest.approx(1)
    written = json.loads(json.dumps(report.to_dict()))
    assert written["map"] == report.map
    assert written["map_large"] is None
    assert written["classes"][1] == {"label": "pear", "objects": 0, "ap": None, "ap50": None, "voc_ap50": None}
    rows, columns = report.table()
    assert len(rows[0]) == len(columns)
    assert report.headline().startswith("mAP 1.0000 (small 1.0000, medium 1.0000), mAP50 1.0000")


def test_nothing_found_and_nothing_there() -> None:
    ground_truth = Objects.of([[0, 0, 10, 10]], [0])
    none = exact(ground_truth)[:0]
    assert detection_report([none], [ground_truth], NAMES).map == 0
    assert detection_report([none], [ground_truth], NAMES).classes[0].ap == 0
    empty = detection_report([none], [Objects.of([], [])], NAMES)
    assert (empty.map, empty.map50, empty.map_small, empty.voc_map50) == (0, 0, None, 0)
    assert detection_report([exact(ground_truth)], [Objects.of([], [])], NAMES).map == 0


def test_ignored_objects_make_results_neither_right_nor_wrong() -> None:
    ground_truth = Objects.of([[0, 0, 10, 10], [20, 20, 60, 60]], [0, 0], [True, False])
    report = detection_report([exact(ground_truth)], [ground_truth], NAMES)
    assert (report.map, report.voc_map50, report.classes[0].objects) == pytest.approx((1, 1, 1))


def test_an_image_with_more_results_than_coco_counts() -> None:
    boxes = np.array([[5 * index, 0, 5 * index + 4, 4] for index in range(150)], np.float32)
    ground_truth = Objects.of(boxes, [0] * 150)
    report = detection_report([exact(ground_truth)], [ground_truth], NAMES)
    assert report.map50 == pytest.approx(67 / 101, abs=1e-6)  # recall 100 / 150 at full precision, over 101 points


def test_inputs_that_do_not_fit_are_refused() -> None:
    ground_truth = Objects.of([[0, 0, 10, 10]], [0])
    with pytest.raises(InvalidInput, match="no images to score"):
        detection_report([], [], NAMES)
    with pytest.raises(InvalidInput, match="2 results do not fit 1 images"):
        detection_report([exact(ground_truth)] * 2, [ground_truth], NAMES)
    with pytest.raises(InvalidInput, match="2 images with 1 different numbers"):
        detection_report([exact(ground_truth)] * 2, [ground_truth] * 2, NAMES, [5, 5])
    with pytest.raises(InvalidInput, match="2 different numbers do not fit 3 classes"):
        detection_report([exact(ground_truth)], [ground_truth], NAMES, [5], [1, 2, 2])
