"""Rows of captioners: CSV with one line for each caption, and COCO results that pycocotools loads."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from cvserve.batch import GroundTruthNumbers, open_sink
from cvserve.errors import InvalidInput
from cvserve.postproc import CaptionResult, ScoredCaption


def row(name: str, *captions: tuple[str, float]) -> dict[str, Any]:
    result = CaptionResult(tuple(ScoredCaption(*item) for item in captions))
    return {"image": name, "task": "captioning", "model": "teller", "version": 3, **result.to_dict()}


TWO = row("000000000139.jpg", ("một con chó, 狗", -1.5), ("a dog", -2.25))
ONE = row("multi\nline.jpg", ("", -0.5))
BAD = {"image": "b.jpg", "error": 'is "broken"'}


def opened(out: Path, **options: Any) -> Any:
    return open_sink(out, task="captioning", **options)


def test_csv_has_one_line_for_each_caption(tmp_path: Path) -> None:
    with opened(tmp_path / "r.csv") as sink:
        for item in (TWO, BAD, ONE):
            sink.write(item)
    with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as stream:
        header, *lines = csv.reader(stream)
    assert ",".join(header) == "image,task,model,version,error,captions,caption,log_probability"
    known = ["captioning", "teller", "3", ""]
    assert lines == [
        ["000000000139.jpg", *known, "2", "một con chó, 狗", "-1.5"],
        ["000000000139.jpg", *known, "2", "a dog", "-2.25"],
        ["b.jpg", "", "", "", 'is "broken"', "", "", ""],
        ["multi\nline.jpg", *known, "1", "", "-0.5"],
    ]


@pytest.mark.parametrize("lost", range(0, 200, 17))
def test_csv_is_continued_image_by_image(tmp_path: Path, lost: int) -> None:
    rows = [TWO, BAD, ONE]
    with opened(tmp_path / "whole.csv") as sink:
        for item in rows:
            sink.write(item)
    whole = (tmp_path / "whole.csv").read_bytes()
    (tmp_path / "r.csv.part").write_bytes(whole[: len(whole) - lost])
    with opened(tmp_path / "r.csv", resume=True) as sink:
        for item in rows:
            if not sink.holds(item["image"]):
                sink.write(item)
    assert (tmp_path / "r.csv").read_bytes() == whole


def test_json_of_a_captioner_has_coco_s_format(tmp_path: Path) -> None:
    with opened(tmp_path / "r.json") as sink:
        for item in (TWO, BAD, ONE):
            sink.write(item)
    assert json.loads((tmp_path / "r.json").read_bytes()) == [
        {"image_id": 139, "caption": "một con chó, 狗", "file_name": "000000000139.jpg"},
        {"image_id": 1, "caption": "", "file_name": "multi\nline.jpg"},
    ]
    with opened(tmp_path / "empty.json") as sink:
        sink.write(BAD)
    assert json.loads((tmp_path / "empty.json").read_bytes()) == []


def test_numbers_of_a_file_of_captions_and_pycocotools(tmp_path: Path) -> None:
    ground_truth = {"images": [{"id": 5, "file_name": "a.jpg"}, {"id": 9, "file_name": "b.jpg"}], "type": "captions"}
    ground_truth |= {"annotations": [{"id": 1, "image_id": 5, "caption": "A dog."}], "info": {}}
    (tmp_path / "captions.json").write_text(json.dumps(ground_truth))
    numbers = GroundTruthNumbers(tmp_path / "captions.json", ())
    with opened(tmp_path / "r.json", numbers=numbers) as sink:
        sink.write(row("x/b.jpg", ("a cat", -1.0)))
        sink.write(row("a.jpg", ("a dog", -1.0)))
    coco = pytest.importorskip("pycocotools.coco").COCO(str(tmp_path / "captions.json"))
    found = coco.loadRes(str(tmp_path / "r.json"))
    assert {item["image_id"]: item["caption"] for item in found.loadAnns(found.getAnnIds())} == {9: "a cat", 5: "a dog"}
    with pytest.raises(InvalidInput, match="needs images and categories"):
        GroundTruthNumbers(tmp_path / "captions.json", ("dog",))


def test_other_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no column for classes"), opened(tmp_path / "r.csv") as sink:
        sink.write({"image": "a.jpg", "classes": []})
    with pytest.raises(InvalidInput, match="not of classification"), opened(tmp_path / "r.json") as sink:
        sink.write({"image": "a.jpg", "task": "classification", "classes": []})
    with pytest.raises(InvalidInput, match="cannot be continued"):
        opened(tmp_path / "r.json", resume=True)
