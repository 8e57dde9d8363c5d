"""What holds for the metric of every task: parts, order, computing twice, and no images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from cvserve.data import Objects
from cvserve.errors import InvalidInput
from cvserve.evaluation.detection import GroundTruth
from cvserve.evaluation.metrics import METRICS
from cvserve.evaluation.metrics.captioning import CaptionMetric
from cvserve.evaluation.metrics.classification import ClassificationMetric
from cvserve.evaluation.metrics.detection import DetectionMetric
from cvserve.evaluation.metrics.segmentation import SegmentationMetric
from cvserve.evaluation.task_metric import Metric
from cvserve.postproc import DetectionResult, ObjectMasks

LABELS = ("a", "b", "c")
IMAGES = 12


@dataclass(frozen=True)
class Case:
    """A metric, and predictions with ground truths of 12 images for it."""

    create: Callable[[], Metric]
    predictions: Sequence[Any]
    ground_truths: Sequence[Any]


def _classification(rng: np.random.Generator) -> Case:
    probabilities = rng.dirichlet(np.ones(3), IMAGES)
    return Case(lambda: ClassificationMetric(LABELS), list(probabilities), rng.integers(0, 3, IMAGES).tolist())


def _segmentation(rng: np.random.Generator) -> Case:
    maps = [rng.integers(0, 3, (8, 6 + index)) for index in range(IMAGES)]
    labels = [np.where(rng.random(item.shape) < 0.6, item, rng.choice([0, 1, 2, 255], item.shape)) for item in maps]
    return Case(lambda: SegmentationMetric(LABELS), maps, labels)


def _detection(rng: np.random.Generator, *, masks: bool = False) -> Case:
    results, ground_truths = [], []
    for _ in range(IMAGES):
        corners = rng.integers(0, 30, (4, 2))
        boxes = np.hstack([corners, corners + rng.integers(8, 30, (4, 2))]).astype(np.float32)
        labels = rng.integers(0, 3, 4).astype(np.int32)
        moved = boxes + rng.integers(-3, 4, boxes.shape)
        # One decimal, so that images share scores: ties must not depend on the order either.
        scores = np.sort(rng.random(4).round(1).astype(np.float32))[::-1].copy()
        found, true = (_masks(item) if masks else None for item in (moved, boxes))
        results.append(DetectionResult(moved.astype(np.float32), scores, labels, LABELS, 64, 64, found))
        ground_truths.append(GroundTruth(Objects.of(boxes, labels), true))
    return Case(lambda: DetectionMetric(LABELS, masks=masks), results, ground_truths)


def _masks(boxes: np.ndarray) -> ObjectMasks:
    masks = np.zeros((len(boxes), 64, 64), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.clip(0).astype(int), strict=True):
        mask[top:bottom, left:right] = True
    return ObjectMasks.of(masks)


def _captioning(rng: np.random.Generator) -> Case:
    words = ("a", "red", "dog", "cat", "sits", "on", "the", "wall")
    sentences = [" ".join(rng.choice(words, 6)) for _ in range(3 * IMAGES)]
    return Case(
        CaptionMetric, sentences[:IMAGES], list(zip(sentences[IMAGES::2], sentences[IMAGES + 1 :: 2], strict=True))
    )


CASES = {
    "captioning": _captioning,
    "classification": _classification,
    "detection": _detection,
    "detection with masks": lambda rng: _detection(rng, masks=True),
    "segmentation": _segmentation,
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param](np.random.default_rng(1))


def scores(metric: Metric) -> Any:
    return metric.compute().to_dict()


def updated(case: Case, *parts: Sequence[int]) -> Metric:
    """Returns a metric that was given the images in these parts."""
    metric = case.create()
    for part in parts:
        metric.update([case.predictions[i] for i in part], [case.ground_truths[i] for i in part], part)
    return metric


def same(one: Any, other: Any) -> bool:
    """Whether two reports say the same, but for the rounding of sums."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return bool(one == pytest.approx(other, rel=1e-12))
    return bool(one == other)


def test_every_task_has_a_case() -> None:
    assert {name.partition(" ")[0] for name in CASES} == set(METRICS.names())


def test_the_scores_are_neither_perfect_nor_zero(case: Case) -> None:
    """Neither perfect nor nothing: else the other tests would show little."""
    report = updated(case, range(IMAGES)).compute()
    assert report.images == IMAGES
    numbers = [value for value in report.to_dict().values() if isinstance(value, float)]
    assert any(0.05 < value < 0.95 for value in numbers)
    rows, columns = report.table()
    assert rows
    assert all(len(row) == len(columns) for row in rows)
    assert report.headline()


def test_updates_in_parts_equal_one_update(case: Case) -> None:
    whole = scores(updated(case, range(IMAGES)))
    assert same(scores(updated(case, range(5), [], range(5, 6), range(6, IMAGES))), whole)


def test_the_order_of_the_images_does_not_matter(case: Case) -> None:
    whole = scores(updated(case, range(IMAGES)))
    assert same(scores(updated(case, range(7, IMAGES), [6, 0, 5, 1], [4, 3, 2])), whole)


def test_indices_need_not_be_given(case: Case) -> None:
    metric = case.create()
    for part in (slice(0, 5), slice(5, IMAGES)):
        metric.update(case.predictions[part], case.ground_truths[part])
    assert same(scores(metric), scores(updated(case, range(IMAGES))))


def test_computing_changes_nothing(case: Case) -> None:
    metric = updated(case, range(6))
    first = scores(metric)
    assert scores(metric) == first
    rest = range(6, IMAGES)
    metric.update([case.predictions[i] for i in rest], [case.ground_truths[i] for i in rest], rest)
    assert same(scores(metric), scores(updated(case, range(IMAGES))))


def test_metrics_share_nothing(case: Case) -> None:
    before = scores(updated(case, range(6)))
    updated(case, range(IMAGES)).compute()
    assert scores(updated(case, range(6))) == before


def test_without_images_there_is_one_sentence(case: Case) -> None:
    with pytest.raises(InvalidInput, match=r"^there are no \w+( \w+)? to score$"):
        case.create().compute()


def test_probabilities_that_do_not_fit_the_labels_are_refused() -> None:
    metric = ClassificationMetric(LABELS)
    metric.update(np.full((2, 4), 0.25), [0, 1])
    with pytest.raises(InvalidInput, match="do not fit"):
        metric.compute()
