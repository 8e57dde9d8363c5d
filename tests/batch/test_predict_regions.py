"""`predict` with a segmentation model: rows, CSV, class maps as files, overlays."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_segmenter import CHANNELS, publish_colors

from cvserve.artifact import PreprocSpec
from cvserve.batch import Sources, open_sink, predict
from cvserve.errors import InvalidInput
from cvserve.pipeline import Pipeline
from cvserve.postproc import masks

WIDTH, HEIGHT = 120, 60


def class_maps() -> dict[str, np.ndarray]:
    """Returns the classes on the images, in blocks of 20 pixels."""
    random = np.random.default_rng(0)
    blocks = {
        "one.png": np.full((3, 6), 1, np.uint8),
        "two.png": random.integers(0, 3, (3, 6), np.uint8),
        "sub/two.png": random.integers(0, 2, (3, 6), np.uint8),
    }
    return {name: item.repeat(20, axis=0).repeat(20, axis=1) for name, item in blocks.items()}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory):
    # A quarter of the images' size: each block is 5 x 5 pixels of the graph's.
    spec = PreprocSpec(height=30, width=30, resize="letterbox")
    artifact = publish_colors(tmp_path_factory.mktemp("models") / "channels", spec)
    with Pipeline.load(artifact.directory, runtime="onnx") as opened:
        yield opened


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, class_map in class_maps().items():
        image = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
        np.put_along_axis(image, class_map[..., None].astype(int), 220, axis=2)
        (folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), image[..., ::-1])
    return folder


def run(pipeline: Pipeline, photos: Path, out: Path, **options: Any) -> dict[str, dict[str, Any]]:
    with open_sink(out, task="segmentation", labels=CHANNELS) as sink:
        predict(pipeline, Sources([photos]), sink, batch_size=2, **options)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return {row["image"]: row for row in rows}


def test_rows(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    rows = run(pipeline, photos, tmp_path / "r.jsonl")
    assert list(rows) == ["one.png", "sub/two.png", "two.png"]
    for name, class_map in class_maps().items():
        row = rows[name]
        assert {key: row[key] for key in ("task", "model", "version", "width", "height")} == {
            "task": "segmentation",
            "model": "channels",
            "version": 1,
            "width": WIDTH,
            "height": HEIGHT,
        }
        found = row["segmentation"]
        assert np.array_equal(masks.from_png(base64.b64decode(found["class_map"])), class_map)
        coverage = {item["index"]: item["coverage"] for item in found["classes"]}
        assert coverage == {index: round(float((class_map == index).mean()), 6) for index in np.unique(class_map)}
        for item in found["classes"]:
            assert item["label"] == CHANNELS[item["index"]]
            # Softmax of 2.2, 0.2 and 0.2.
            assert item["confidence"] == pytest.approx(np.exp(2) / (np.exp(2) + 2), abs=1e-5)


def test_run_lengths_for_cocos_tools(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rows = run(pipeline, photos, tmp_path / "r.jsonl", mask_format="rle")
    for name, class_map in class_maps().items():
        for item in rows[name]["segmentation"]["classes"]:
            assert np.array_equal(coco.decode(item["mask"]) == 1, class_map == item["index"])


def test_class_maps_as_files(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    rows = run(pipeline, photos, tmp_path / "r.jsonl", masks=tmp_path / "masks")
    for name, class_map in class_maps().items():
        found = rows[name]["segmentation"]
        assert found["file"] == f"{name}.png"
        assert "class_map" not in found
        written = cv2.imread(str(tmp_path / "masks" / found["file"]), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(written, class_map)


def test_csv_has_one_line_for_each_class(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    (photos / "z.jpg").write_text("no image")
    try:
        with open_sink(tmp_path / "r.csv", task="segmentation", labels=CHANNELS) as sink:
            predict(pipeline, Sources([photos]), sink, mask_format="none")
    finally:
        (photos / "z.jpg").unlink()
    with (tmp_path / "r.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        *("image", "task", "model", "version", "error", "width", "height", "classes"),
        *("label", "index", "coverage", "confidence"),
    ]
    for name, class_map in class_maps().items():
        mine = [row for row in rows if row["image"] == name]
        assert {row["classes"] for row in mine} == {str(len(mine))} == {str(len(np.unique(class_map)))}
        assert sum(float(row["coverage"]) for row in mine) == pytest.approx(1, abs=1e-5)
    assert rows[-1]["error"]
    assert rows[-1]["label"] == ""
    # It is continued image by image.
    whole = (tmp_path / "r.csv").read_bytes()
    (tmp_path / "r.csv.part").write_bytes(whole[:-60])
    with open_sink(tmp_path / "r.csv", task="segmentation", labels=CHANNELS, resume=True) as sink:
        assert [sink.holds(name) for name in ("one.png", "sub/two.png")] == [True, True]


def test_csv_of_regions_refuses_other_tasks(tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidInput, match="no column for classes"),
        open_sink(tmp_path / "r.csv", task="segmentation") as sink,
    ):
        sink.write({"image": "a.jpg", "classes": []})
    with pytest.raises(InvalidInput, match="COCO results are of captioning and detection models, not of segmentation"):
        open_sink(tmp_path / "r.json", task="segmentation", format="coco")


def test_overlays(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    run(pipeline, photos, tmp_path / "r.jsonl", annotate=tmp_path / "out")
    drawn = cv2.imread(str(tmp_path / "out" / "one.png.jpg"))[..., ::-1].astype(int)
    assert drawn.shape == (180, 360, 3)
    # Green mixed with the manifest's green.
    assert np.abs(drawn[170, 350] - (9, 209, 9)).max() < 12
    assert (drawn.min(axis=2) > 200).sum() > 30, "the legend's letters"


def test_an_unknown_format_is_an_error(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="mask_format must be png, rle, polygons or none, not 'gif'"):
        run(pipeline, photos, tmp_path / "r.jsonl", mask_format="gif")
