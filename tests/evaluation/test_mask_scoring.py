"""Mask AP: pycocotools' figures, from `evaluate` and from the files that it and `predict` write."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from coco_by_hand import by_hand
from tiny_instances import LABELS, publish_instances

from cvserve.artifact import Artifact
from cvserve.batch import GroundTruthNumbers, Sources, open_sink, predict
from cvserve.data import Objects
from cvserve.errors import InvalidInput
from cvserve.evaluation import evaluate
from cvserve.evaluation.detection import detection_report
from cvserve.evaluation.matching import match_image
from cvserve.evaluation.misses import ScoredImage, draw_worst
from cvserve.pipeline import Pipeline
from cvserve.postproc import DetectionResult, ObjectMasks
from cvserve.postproc.encoded_masks import coco_mask


def squares(*corners: tuple[int, int, int, int]) -> ObjectMasks:
    masks = np.zeros((len(corners), 40, 50), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, corners, strict=True):
        mask[y1:y2, x1:x2] = True
    return ObjectMasks.of(masks)


BOXES = np.array([[0, 0, 20, 20], [20, 10, 40, 40]], np.float32)
TRUE = squares((0, 0, 20, 20), (20, 10, 40, 40))


def scored(masks: ObjectMasks):
    objects = Objects.of(BOXES, [0, 1])
    found = DetectionResult(BOXES, np.array([0.9, 0.8], np.float32), np.array([0, 1], np.int32), LABELS, 50, 40, masks)
    return detection_report([found], [objects], LABELS, masks=[TRUE])


def test_right_boxes_with_wrong_masks() -> None:
    report = scored(TRUE)
    assert report.masks is not None
    assert (report.masks.map, report.masks.map50, report.map) == pytest.approx((1, 1, 1))
    assert report.masks.map_small == pytest.approx(1)
    # The second one's mask is 0.7 of what it should be: right up to an IoU of 0.7, five of the ten thresholds.
    report = scored(squares((0, 0, 20, 20), (20, 10, 34, 40)))
    assert report.masks is not None
    assert report.map == pytest.approx(1)
    assert [row.mask_ap for row in report.classes] == pytest.approx([1, 0.5, None])
    assert [row.mask_ap50 for row in report.classes] == pytest.approx([1, 1, None])
    assert report.masks.map75 == pytest.approx(0.5)
    assert report.headline().startswith("mask mAP 0.7500 (small 0.7500)")
    assert report.table()[1][-2:] == ("mask AP", "mask AP50")
    assert report.to_dict()["masks"]["map"] == pytest.approx(0.75)


def test_boxes_alone_have_no_mask_scores() -> None:
    objects = Objects.of(BOXES, [0, 1])
    found = DetectionResult(BOXES, np.array([0.9, 0.8], np.float32), np.array([0, 1], np.int32), LABELS, 50, 40)
    report = detection_report([found], [objects], LABELS)
    assert "masks" not in report.to_dict()
    assert "mask_ap" not in report.to_dict()["classes"][0]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return publish_instances(tmp_path_factory.mktemp("models") / "animals")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, artifact: Artifact) -> Path:
    """COCO's layout with three images; true is what the model finds, but in the last one mask is the whole box
    and the other object a crowd."""
    root = tmp_path_factory.mktemp("animals")
    (root / "val2017").mkdir()
    images, annotations = [], []
    with Pipeline.load(artifact.directory, runtime="onnx", threads=1) as pipeline:
        for number in (1, 2, 3):
            size = (48 + 6 * number, 64)
            blocks = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
            image = cv2.resize(blocks, size[::-1], interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(root / "val2017" / f"{number}.png"), image[..., ::-1])
            [found] = pipeline([image])
            assert isinstance(found, DetectionResult)
            assert found.masks is not None
            images.append({"id": 10 * number, "file_name": f"{number}.png", "height": size[0], "width": size[1]})
            for place, item in enumerate(found):
                x1, y1, x2, y2 = item.box
                whole = [[x1, y1, x2, y1, x2, y2, x1, y2]]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": 10 * number,
                        "category_id": item.index + 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": int(found.masks.areas[place]) or 1,
                        "iscrowd": int(number == 3 and place == 1),
                        "segmentation": whole if number == 3 and place == 0 else coco_mask(found.masks, place),
                    }
                )
    categories = [{"id": number, "name": name} for number, name in enumerate(LABELS, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return root


def test_evaluate_and_predict_agree_with_pycocotools(artifact: Artifact, folder: Path, tmp_path: Path) -> None:
    report = evaluate(artifact.directory, str(folder), split="val", out=tmp_path, batch_size=2).report
    assert report.map == pytest.approx(1)
    assert report.masks is not None
    assert 0.5 < report.masks.map < 0.99
    own = by_hand(tmp_path / "ground_truth.json", tmp_path / "segmentations.json", kind="segm")
    ground_truth = folder / "annotations" / "instances_val2017.json"
    theirs = by_hand(ground_truth, tmp_path / "segmentations.json", kind="segm")
    for stats in (own, theirs):
        assert (report.masks.map, report.masks.map50, report.masks.map75) == pytest.approx(stats[:3], abs=1e-6)
        sizes = [-1 if value is None else value for value in (report.masks.map_small, report.masks.map_medium)]
        assert sizes == pytest.approx(stats[3:5], abs=1e-6)

    with (
        Pipeline.load(artifact.directory, runtime="onnx", threads=1) as pipeline,
        open_sink(
            tmp_path / "r.json", task="detection", labels=LABELS, numbers=GroundTruthNumbers(ground_truth, LABELS)
        ) as sink,
    ):
        predict(pipeline, Sources([folder / "val2017"]), sink, score_threshold=0.001)
    assert by_hand(ground_truth, tmp_path / "r.json", kind="segm")[:3] == pytest.approx(own[:3], abs=1e-6)
    assert by_hand(ground_truth, tmp_path / "r.json")[0] == pytest.approx(report.map, abs=1e-3)


def test_a_data_set_without_masks(artifact: Artifact, folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
    for item in content["annotations"]:
        del item["segmentation"]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    (tmp_path / "val2017").symlink_to(folder / "val2017")
    with pytest.raises(InvalidInput, match="has boxes without masks"):
        evaluate(artifact.directory, str(tmp_path), split="val")


class _Grey:
    """A data set of one grey image."""

    def image(self, index: int) -> np.ndarray:
        return np.full((40, 50, 3), 128, np.uint8)

    def name(self, index: int) -> str:
        return "grey"


def test_the_page_of_the_worst_shows_masks(tmp_path: Path) -> None:
    """The upper left half of a box is its object's mask, the lower right half is not: missed, then wrong."""
    objects = Objects.of(BOXES[:1], [0])
    nothing = DetectionResult(np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0, np.int32), LABELS, 50, 40)
    half = squares((0, 0, 20, 10))
    missed = ScoredImage(0, nothing, objects, match_image(nothing, objects), half)
    answer = DetectionResult(BOXES[:1], np.array([0.9]), np.array([1], np.int32), LABELS, 50, 40, half)
    wrong = ScoredImage(0, answer, Objects.of(BOXES[:0], []), match_image(answer, Objects.of(BOXES[:0], [])), squares())
    bare = ScoredImage(0, nothing, objects, match_image(nothing, objects))
    draw_worst([missed, wrong, bare], _Grey(), 0.5, tmp_path / "worst.jpg")
    page = cv2.imread(str(tmp_path / "worst.jpg"))[..., ::-1].astype(int)
    # Tiles are 480 x 384 pixels, 9.6 for each of the image's; the box ends at 192.
    for column, (inside, outside) in enumerate([((185, 160, 70), 128), ((176, 88, 97), 128), (128, 128)]):
        left, top = 10 + column * 490, 24 + 10 + 24
        np.testing.assert_allclose(page[top + 60, left + 100], inside, atol=6)
        np.testing.assert_allclose(page[top + 140, left + 100], outside, atol=6)
