"""When two class maps are the same, and what is reported of their difference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvserve.artifact import FileEntry, Graph, Manifest, OutputSpec, PreprocSpec, SegmentationParity
from cvserve.errors import ArtifactError
from cvserve.export.comparison.segmentation import confusion, mean_iou
from cvserve.export.task_export import TASK_EXPORTS

EXPORT = TASK_EXPORTS["segmentation"]
TOLERANCE = 1e-4

LABELS = ("road", "tree", "sky")


def manifest() -> Manifest:
    return Manifest(
        name="streets",
        version=1,
        task="segmentation",
        labels=LABELS,
        preproc=PreprocSpec(height=40, width=50, resize="exact"),
        outputs=tuple(OutputSpec(name=name, role=name) for name in ("class_map", "confidence")),
        graphs=(Graph(format="onnx", files=(FileEntry(path="model.onnx", bytes=0, sha256="0" * 64),)),),
    )


def answers(images: int = 2) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "class_map": random.integers(0, 3, (images, 40, 50), np.uint8),
        "confidence": random.uniform(0.4, 1, (images, 40, 50)).astype(np.float32),
    }


def test_confidence_counts_where_the_classes_agree() -> None:
    comparison = EXPORT.comparison(manifest(), TOLERANCE)
    assert comparison.limit == 1e-4
    got = {name: values.copy() for name, values in answers().items()}
    # One pixel of 2000 has another class, and there the confidence is far away.
    got["class_map"][0, 0, 0] = (got["class_map"][0, 0, 0] + 1) % 3
    got["confidence"][0, 0, 0] += 0.3
    got["confidence"][1, 5, 5] += 5e-5
    compared = comparison.compare(got, answers())
    assert compared.differences.tolist() == pytest.approx([0, 5e-5], abs=1e-6)
    assert compared.agreeing.tolist() == [True, True]
    figures = comparison.figures([compared])
    assert figures["pixel_agreement"] == pytest.approx(1 - 1 / 4000)
    assert 0.999 < figures["miou"] < 1
    assert "miou_difference" not in figures
    assert SegmentationParity(images=2, max_abs_difference=5e-5, agreement=1, limit=1e-4, **figures).holds


def test_where_ties_decide_a_few_pixels_may_be_farther_off() -> None:
    comparison = EXPORT.comparison(manifest(), TOLERANCE, ties=True)
    got = {name: values.copy() for name, values in answers().items()}
    got["confidence"][0, :2] += 0.3  # 100, 5 % of 2000
    got["confidence"][0, 2, 0] += 5e-5
    compared = comparison.compare(got, answers())
    assert compared.differences.tolist() == pytest.approx([5e-5, 0], abs=1e-6)
    figures = comparison.figures([compared])
    assert (figures["beyond"], figures["beyond_limit"]) == (0.05, 0.05)
    assert SegmentationParity(images=2, max_abs_difference=5e-5, agreement=1, limit=1e-4, **figures).holds
    got["confidence"][0, 2, 0] += 0.3
    assert comparison.compare(got, answers()).differences[0] == pytest.approx(0.3, abs=1e-4), "one more"
    got["confidence"][1, 0, 0] = np.nan
    assert np.isnan(comparison.compare(got, answers()).differences[1])
    strict = EXPORT.comparison(manifest(), TOLERANCE)
    assert "beyond" not in strict.figures([strict.compare(answers(), answers())])


def test_too_many_pixels_of_another_class_do_not_hold() -> None:
    comparison = EXPORT.comparison(manifest(), TOLERANCE)
    got = {name: values.copy() for name, values in answers().items()}
    got["class_map"][0, 0, :5] = (got["class_map"][0, 0, :5] + 1) % 3
    compared = comparison.compare(got, answers())
    assert compared.agreeing.tolist() == [False, True]
    figures = comparison.figures([compared])
    parity = SegmentationParity(images=2, max_abs_difference=0, agreement=0.5, limit=1e-4, **figures)
    assert parity.pixel_agreement == pytest.approx(1 - 5 / 4000)
    assert not parity.holds
    # The worst batch size counts.
    fine = comparison.compare(answers(), answers())
    assert comparison.figures([fine, compared, fine])["pixel_agreement"] == parity.pixel_agreement
    # For encoded images it is reported, and no failure.
    loose = EXPORT.encoded_comparison(manifest()).figures([compared])
    assert SegmentationParity(images=2, max_abs_difference=0, agreement=0.5, limit=0.25, **loose).holds


def test_nan_is_never_close() -> None:
    got = {name: values.copy() for name, values in answers().items()}
    got["confidence"][0, 0, 0] = np.nan
    got["class_map"][0, 0, 0] = (got["class_map"][0, 0, 0] + 1) % 3
    assert np.isnan(EXPORT.comparison(manifest(), TOLERANCE).compare(got, answers()).differences[0])


def test_the_difference_in_miou_where_the_ground_truth_is_known() -> None:
    ground_truth = answers()["class_map"].copy()
    ground_truth[0, :10] = 255
    comparison = EXPORT.comparison(manifest(), TOLERANCE, ground_truth=list(ground_truth))
    got = {name: values.copy() for name, values in answers().items()}
    # In the void nothing counts.
    got["class_map"][0, :10] = 0
    assert comparison.figures([comparison.compare(got, answers())])["miou_difference"] == 0
    got["class_map"][1] = 0
    mine = np.where(ground_truth == 255, 255, got["class_map"])
    ious = [((mine == c) & (ground_truth == c)).sum() / ((mine == c) | (ground_truth == c)).sum() for c in range(3)]
    figures = comparison.figures([comparison.compare(got, answers())])
    assert figures["miou_difference"] == pytest.approx(1 - np.mean(ious))


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 255]), st.integers(0, 3)), min_size=1, max_size=60))
def test_mean_iou_by_counting(pixels: list[tuple[int, int]]) -> None:
    ground_truth, found = (np.array(side, np.uint8) for side in zip(*pixels, strict=True))
    kept = [(a, b) for a, b in pixels if a != 255]
    ious = []
    for index in range(4):
        union = sum(index in pair for pair in kept)
        if union:
            ious.append(sum(a == b == index for a, b in kept) / union)
    matrix = confusion(ground_truth, found, 4)
    assert matrix.sum() == len(kept)
    assert mean_iou(matrix) == (pytest.approx(np.mean(ious)) if ious else None)


def test_maps_of_another_size() -> None:
    with pytest.raises(ArtifactError, match=r"the class maps are \[2, 40, 49\], not \[2, 40, 50\]"):
        EXPORT.comparison(manifest(), TOLERANCE).compare(
            {name: values[..., :49] for name, values in answers().items()}, answers()
        )
