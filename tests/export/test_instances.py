"""Objects with masks in every format: the same objects, and the same masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_instances import CELLS, LABELS, POSTPROC, PREPROC, make_instances
from tiny_segmenter import make_images

from cvserve.errors import ExportError
from cvserve.export import report_table
from cvserve.export.comparison.detection import Tolerance, mask_overlaps, match
from cvserve.postproc.decoders.detection import DecodedObjects


@pytest.mark.slow
def test_three_formats(tmp_path: Path) -> None:
    from cvserve.export import export_model

    manifest = export_model(
        make_instances(),
        tmp_path / "animals",
        task="detection",
        labels=LABELS,
        preproc=PREPROC,
        postproc=POSTPROC,
        parity_images=make_images(9),
    ).manifest
    assert manifest.has_masks
    assert [graph.format for graph in manifest.graphs] == ["saved_model", "onnx", "tflite"]
    for graph in manifest.graphs:
        assert graph.parity is not None
        assert graph.parity.holds
        assert graph.parity.objects
        assert graph.parity.unmatched == 0.0
        assert graph.parity.mask_iou_min == 1.0
        assert graph.detect is None, "the network suppresses itself"
    assert "mask IoU" in report_table(manifest)


@pytest.mark.slow
def test_other_masks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvserve.export import export_model
    from cvserve.export.network import Network

    answers = Network.answers

    def turned(self: Network, images: np.ndarray, batch_size: int = 8) -> dict[str, np.ndarray]:
        found = answers(self, images, batch_size)
        return {**found, "masks": 1 - found["masks"]}

    monkeypatch.setattr(Network, "answers", turned)
    with pytest.raises(ExportError, match="of the objects have no partner among the network's"):
        export_model(
            make_instances(),
            tmp_path / "animals",
            task="detection",
            labels=LABELS,
            preproc=PREPROC,
            postproc=POSTPROC,
            parity_images=make_images(3),
            formats=["onnx"],
        )


def one(mask: np.ndarray) -> DecodedObjects:
    return DecodedObjects(
        np.array([[0, 0, 9, 9]], np.float32), np.array([0.9], np.float32), np.array([0], np.int32), mask[None]
    )


def test_masks_are_part_of_what_matches() -> None:
    mask = np.zeros((CELLS, CELLS), np.float32)
    mask[:7] = 0.9
    tolerance = Tolerance()
    same = match(one(mask), one(mask), tolerance, 0.25, 100)
    assert (same.unmatched, same.mask_ious.tolist()) == (0, [1.0])
    other = mask.copy()
    other[6] = 0.1
    apart = match(one(other), one(mask), tolerance, 0.25, 100)
    assert (apart.unmatched, apart.mask_ious.tolist()) == (2, [])
    loose = match(one(other), one(mask), Tolerance(mask_iou=0.8), 0.25, 100)
    assert loose.mask_ious.tolist() == pytest.approx([6 / 7])


def test_cells_at_the_threshold_are_forgiven() -> None:
    first = np.full((1, 2, 2), 0.4999, np.float32)
    assert mask_overlaps(first, first + 0.0002, 1e-3).tolist() == [[1.0]]
    assert mask_overlaps(first, first + 0.2, 1e-3).tolist() == [[0.0]]
    assert mask_overlaps(first[:0], first, 1e-3).shape == (0, 1)
