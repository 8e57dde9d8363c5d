"""Masks as PNG and run lengths: pycocotools reads what is written, and the other way round."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from relative_time import copies_of
from tiny_segmenter import blobs

from cvserve.errors import InvalidInput
from cvserve.postproc import masks

shapes = st.tuples(st.integers(1, 25), st.integers(1, 25))
binary = shapes.flatmap(lambda shape: arrays(np.bool_, shape))
class_maps = shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 4)))


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        ([[0, 0], [0, 0]], [4]),
        ([[1, 1], [1, 1]], [0, 4]),
        # Down the columns.
        ([[0, 1], [0, 1], [1, 0]], [2, 3, 1]),
        ([[1, 0, 1]], [0, 1, 1, 1]),
    ],
)
def test_counts_by_hand(mask: list[list[int]], counts: list[int]) -> None:
    array = np.array(mask, bool)
    assert masks.run_lengths(array).tolist() == counts
    assert np.array_equal(masks.from_run_lengths(np.array(counts), *array.shape), array)


@settings(deadline=None)
@given(binary)
def test_pycocotools_and_run_lengths(mask: np.ndarray) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    encoded = coco.encode(np.asfortranarray(mask, np.uint8))
    counts = masks.run_lengths(mask)
    assert masks.compress(counts).encode() == encoded["counts"]
    assert masks.decompress(encoded["counts"]).tolist() == counts.tolist()
    assert np.array_equal(masks.from_run_lengths(counts, *mask.shape), mask)
    size = list(mask.shape)
    ours = coco.frPyObjects({"size": size, "counts": counts.tolist()}, *size)
    assert np.array_equal(coco.decode(ours).astype(bool), mask)
    ours = {"size": size, "counts": masks.compress(counts)}
    assert np.array_equal(coco.decode(ours).astype(bool), mask)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=30))
def test_large_counts_survive_compression(counts: list[int]) -> None:
    assert masks.decompress(masks.compress(np.array(counts))).tolist() == counts


def test_compression_of_large_counts_is_pycocotools_own() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    counts = np.random.default_rng(0).integers(1, 9000, 2000)
    size = [int(counts.sum()), 1]
    assert (
        coco.frPyObjects({"size": size, "counts": counts.tolist()}, *size)["counts"] == masks.compress(counts).encode()
    )


@settings(deadline=None)
@given(class_maps)
def test_all_classes_in_one_pass(class_map: np.ndarray) -> None:
    runs = masks.class_runs(class_map)
    assert sorted(runs) == np.unique(class_map).tolist()
    for index, counts in runs.items():
        assert counts.tolist() == masks.run_lengths(class_map == index).tolist()
    assert np.array_equal(masks.from_class_runs(runs, *class_map.shape), class_map)


@settings(deadline=None)
@given(class_maps)
def test_png(class_map: np.ndarray) -> None:
    data = masks.to_png(class_map)
    assert np.array_equal(masks.from_png(data), class_map)
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE), class_map)


def test_invalid_masks_are_refused() -> None:
    color = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    for data in (b"", b"no image", color):
        with pytest.raises(InvalidInput, match="not a grey PNG"):
            masks.from_png(data)
    for text in ("é", "\x10", "P", "o" * 20 + "0"):
        with pytest.raises(InvalidInput, match="not a compressed string of COCO's"):
            masks.decompress(text)
    assert masks.decompress("").tolist() == []
    for counts in ([3, 2], [10, -4]):
        with pytest.raises(InvalidInput, match="are not those of a mask of 3 x 2"):
            masks.from_run_lengths(np.array(counts), 2, 3)
    halves = masks.class_runs(np.array([[0, 1]], np.uint8))
    for wrong in ({0: halves[0]}, {0: halves[0], 1: halves[0]}, {}):
        with pytest.raises(InvalidInput, match="overlap, or leave pixels without a class"):
            masks.from_class_runs(wrong, 1, 2)


def test_twelve_megapixels() -> None:
    class_map = blobs(3000, 4000)

    def encode() -> tuple[bytes, dict[int, np.ndarray], list[str]]:
        runs = masks.class_runs(class_map)
        return masks.to_png(class_map), runs, [masks.compress(counts) for counts in runs.values()]

    data, runs, texts = encode()
    # About 100 times as long as a copy of the class map.
    assert copies_of(class_map, encode) < 1500
    assert len(data) < 100_000
    assert sum(map(len, texts)) < 500_000
    assert np.array_equal(masks.from_class_runs(runs, 3000, 4000), class_map)
