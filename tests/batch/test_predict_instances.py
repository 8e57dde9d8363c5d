"""`predict` with a model of objects with masks: rows, files and drawn images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_instances import LABELS, publish_instances

from cvserve.batch import Sources, open_sink, predict
from cvserve.pipeline import Pipeline
from cvserve.postproc import DetectionResult, draw
from cvserve.postproc.drawing import color_of
from cvserve.postproc.encoded_masks import coco_mask, mask_to_json


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory):
    artifact = publish_instances(tmp_path_factory.mktemp("models") / "animals")
    with Pipeline.load(artifact.directory, runtime="onnx") as opened:
        yield opened


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(2):
        blocks = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(blocks, (320, 240), interpolation=cv2.INTER_CUBIC))
    return folder


def found(pipeline: Pipeline, photos: Path, number: int) -> DetectionResult:
    [result] = pipeline([photos / f"{number}.png"])
    assert isinstance(result, DetectionResult)
    assert result.masks is not None
    return result


@pytest.mark.parametrize("mask_format", [None, "png", "polygons", "none"])
def test_rows(pipeline: Pipeline, photos: Path, tmp_path: Path, mask_format: str | None) -> None:
    with open_sink(tmp_path / "r.jsonl", task="detection", labels=LABELS) as sink:
        predict(pipeline, Sources([photos]), sink, mask_format=mask_format)
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        result = found(pipeline, photos, number)
        assert [item["label"] for item in row["detections"]] == ["dog", "bird"]
        for place, item in enumerate(row["detections"]):
            if mask_format == "none":
                assert "mask" not in item
            else:
                assert item["mask"] == mask_to_json(result.masks, place, mask_format or "rle")  # type: ignore[arg-type]


def test_coco_results_and_csv(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    with open_sink(tmp_path / "r.json", task="detection", labels=LABELS) as sink:
        predict(pipeline, Sources([photos]), sink)
    first, second, *_ = json.loads((tmp_path / "r.json").read_text())
    result = found(pipeline, photos, 0)
    assert first["segmentation"] == coco_mask(result.masks, 0)  # type: ignore[arg-type]
    assert second["segmentation"] == coco_mask(result.masks, 1)  # type: ignore[arg-type]
    with open_sink(tmp_path / "r.csv", task="detection", labels=LABELS) as sink:
        predict(pipeline, Sources([photos]), sink, mask_format="none")
    with (tmp_path / "r.csv").open(newline="") as stream:
        assert [row["label"] for row in csv.DictReader(stream)] == ["dog", "bird"] * 2


def test_drawn_masks(pipeline: Pipeline, photos: Path) -> None:
    """Inside a mask the image is mixed half and half with the colour of its class; elsewhere it is unchanged."""
    result = found(pipeline, photos, 0)[:1]
    assert result.masks is not None
    image = cv2.imread(str(photos / "0.png"))[..., ::-1]
    drawn = draw(image, result)
    mask = result.masks.mask(0)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((9, 9))) > 0
    # Beyond the legend, the box's lines and its caption.
    y, x = np.mgrid[:240, :320]
    x1, y1, x2, y2 = result.boxes[0]
    clear = (y > y1 + 30) & (y < y2 - 4) & (x > x1 + 4) & (x < x2 - 4) & ~((y < 40) & (x < 120))
    where = inner & clear
    assert where.sum() > 100
    mixed = (image[where].astype(int) + color_of(int(result.indexes[0]))) / 2
    np.testing.assert_allclose(drawn[where], mixed, atol=1)
    outside = clear & ~(cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))) > 0)
    np.testing.assert_array_equal(drawn[outside], image[outside])


def test_a_small_image_is_enlarged_with_its_masks(pipeline: Pipeline) -> None:
    small = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
    [result] = pipeline([small])
    assert draw(small, result).shape == (192, 256, 3)
