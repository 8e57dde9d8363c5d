"""`evaluate` of segmentation models, whose classes are colours: scores, files, images that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_segmenter import CHANNELS, publish_colors

from cvserve.artifact import Artifact, PreprocSpec
from cvserve.errors import InvalidInput
from cvserve.evaluation import confusion_matrix, evaluate, segmentation_report
from cvserve.evaluation.worst_masks import WorstMasks
from cvserve.preproc import preprocess
from cvserve.runs import RunDescription

SIZE = (45, 70)
PREPROC = PreprocSpec(height=48, width=64, resize="letterbox")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images in blocks of colour; the masks are what the model predicts, except for a strip that grows."""
    root = tmp_path / "data"
    for side in ("images", "masks"):
        (root / "val" / side).mkdir(parents=True)
    (root / "classes.txt").write_text("red 255 0 0\ngreen 0 255 0\nblue 0 0 255\nvoid 0 0 0\n")
    for number in range(5):
        ground_truth = _ground_truth(number)
        image = np.full((*SIZE, 3), 40, np.uint8)
        for label in range(3):
            image[ground_truth == label, label] = 200
        image[ground_truth == 3, 1] = 200
        wrong = ground_truth.copy()
        wrong[:, : 3 * number] = (wrong[:, : 3 * number] + 1) % 3
        cv2.imwrite(str(root / "val" / "images" / f"{number}.png"), image[..., ::-1])
        cv2.imwrite(str(root / "val" / "masks" / f"{number}.png"), wrong)
    return root


def _ground_truth(number: int) -> np.ndarray:
    cells = np.random.default_rng(number).integers(0, 4, (3, 5), np.uint8)
    return cv2.resize(cells, SIZE[::-1], interpolation=cv2.INTER_NEAREST)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return publish_colors(tmp_path_factory.mktemp("models") / "colours", PREPROC)


def expected(folder: Path, numbers: list[int]) -> np.ndarray:
    """By hand: the strongest channel of the network's input, at the centre of each pixel of the original."""
    total = np.zeros((3, 3), np.int64)
    for number in numbers:
        pixels, geometry = preprocess(folder / "val" / "images" / f"{number}.png", PREPROC)
        mask = cv2.imread(str(folder / "val" / "masks" / f"{number}.png"), cv2.IMREAD_UNCHANGED)
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                row = int((y + 0.5) * geometry.scale_y + geometry.offset_y)
                column = int((x + 0.5) * geometry.scale_x + geometry.offset_x)
                if mask[y, x] != 3:
                    total[mask[y, x], pixels[row, column].argmax()] += 1
    return total


def test_scores_at_the_size_of_the_originals(folder: Path, artifact: Artifact, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = evaluate(artifact.directory, str(folder), split="val", batch_size=2, out=tmp_path / "out")
    by_hand = segmentation_report(expected(folder, [0, 1, 2, 3, 4]), CHANNELS, 5)
    np.testing.assert_array_equal(result.report.confusion, by_hand.confusion)
    assert 0.3 < result.report.miou < 0.95
    assert result.report.to_dict() == by_hand.to_dict()
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (written["miou"], written["split"], written["failed"]) == (result.report.miou, "val", [])
    for name in ("confusion.png", "worst.jpg"):
        assert cv2.imread(str(tmp_path / "out" / name)).std() > 10


def test_the_worst_page_shows_ground_truth_answer_and_errors(folder: Path, artifact: Artifact, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = evaluate(artifact.directory, str(folder), split="val", out=tmp_path)
    # The strip is widest in the last.
    order = [item.index for item in result.report.worst]
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert order[0] == 4
    assert order[-1] == 0
    page = cv2.imread(str(tmp_path / "worst.jpg"))[..., ::-1].astype(int)
    tiles = [page[60:260, 8 + 328 * column : 328 + 328 * column] for column in range(4)]
    red = np.abs(tiles[3] - (255, 30, 60)).max(axis=2) < 40
    assert red[:, :64].mean() > 0.1  # The strip: 12 of 70 pixels.
    assert red[:, 80:].mean() < 0.1
    # Predictions and labels are drawn in the model's colours.
    for tile in tiles[1:3]:
        for color in ((200, 0, 0), (0, 200, 0), (0, 0, 200)):
            assert (np.abs(tile - color).max(axis=2) < 40).sum() > 100
    void = np.abs(tiles[1]).max(axis=2) < 30
    assert void.sum() > 100
    assert (np.abs(tiles[3]).max(axis=2) < 30)[void].mean() > 0.9


@pytest.mark.parametrize("fault", ["missing", "size", "damaged", "image"])
def test_images_that_cannot_be_used_are_reported_and_left_out(folder: Path, artifact: Artifact, fault: str) -> None:
    mask = folder / "val" / "masks" / "3.png"
    if fault == "missing":
        mask.unlink()
    elif fault == "size":
        cv2.imwrite(str(mask), np.zeros((5, 6), np.uint8))
    elif fault == "damaged":
        mask.write_bytes(mask.read_bytes()[:60])
    else:
        (folder / "val" / "images" / "3.png").write_bytes(b"?")
    result = evaluate(artifact.directory, str(folder), split="val")
    assert [name for name, _ in result.failed] == ["val/images/3.png"]
    assert result.report.images == 4
    np.testing.assert_array_equal(result.report.confusion, expected(folder, [0, 1, 2, 4]))


def test_a_label_of_no_class_is_an_error(folder: Path, artifact: Artifact) -> None:
    cv2.imwrite(str(folder / "val" / "masks" / "3.png"), np.full(SIZE, 9, np.uint8))
    with pytest.raises(InvalidInput, match=r"masks/3.png: the pixel at x=0, y=0 has the value 9"):
        evaluate(artifact.directory, str(folder), split="val")


def test_classes_are_matched_by_name(folder: Path, artifact: Artifact) -> None:
    before = evaluate(artifact.directory, str(folder), split="val").report
    # The same masks, whose values the file now calls otherwise.
    (folder / "classes.txt").write_text("1 green\n0 red\n3 void\n2 blue\n")
    assert evaluate(artifact.directory, str(folder), split="val").report.to_dict() == before.to_dict()
    (folder / "classes.txt").write_text("red\ngreen\npurple\nvoid\n")
    with pytest.raises(InvalidInput, match="the model does not know the class 'purple'"):
        evaluate(artifact.directory, str(folder), split="val")


def test_a_run_directory(folder: Path, tmp_path: Path, artifact: Artifact) -> None:
    keras = pytest.importorskip("keras")
    from cvserve.models.segmentation.segmenter import segmenter

    images = keras.Input((PREPROC.height, PREPROC.width, 3), dtype="uint8", name="images")
    logits = keras.layers.Rescaling(0.01)(images)
    directory = tmp_path / "run"
    directory.mkdir()
    segmenter(images, logits, name="colours").network.save(directory / "model.keras")
    description = RunDescription(
        task="segmentation", architecture="colours", labels=CHANNELS, preproc=PREPROC, data=str(folder)
    )
    (directory / "run.json").write_text(description.model_dump_json())
    found = evaluate(directory, batch_size=3).report
    assert found.to_dict() == evaluate(artifact.directory, str(folder), split="val").report.to_dict()


def test_the_worst_are_kept_and_no_more() -> None:
    worst = WorstMasks(count=3)
    rng = np.random.default_rng(0)
    shares = rng.permutation(20)
    for index, share in enumerate(shares.tolist()):
        ground_truth, answer = np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint8)
        answer.reshape(-1)[:share] = 1
        worst.add(index, segmentation_report(confusion_matrix(ground_truth, answer, 2), ("a", "b")), answer)
    assert [item.index for item in worst.images] == [int(np.flatnonzero(shares == s)[0]) for s in (19, 18, 17)]
    assert [int(item.class_map.sum()) for item in worst.images] == [19, 18, 17]
