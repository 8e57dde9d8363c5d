"""Rows of detectors: CSV with one line for each object, and COCO results that pycocotools loads."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cvserve.batch import OwnNumbers, open_sink
from cvserve.errors import InvalidInput

LABELS = ("red", "blau, hell")


def row(name: str, *objects: tuple[int, float, list[float]]) -> dict[str, Any]:
    found = [{"label": LABELS[index], "index": index, "score": score, "box": box} for index, score, box in objects]
    known = {"image": name, "task": "detection", "model": "cells", "version": 2}
    return {**known, "width": 128, "height": 96, "detections": found}


TWO = row("a.jpg", (1, 0.75, [1.5, 2.0, 30.25, 40.0]), (0, 0.5, [0.0, 0.0, 10.0, 5.0]))
NONE = row("multi\nline.jpg")
BAD = {"image": "b.jpg", "error": 'is "broken"'}
LAST = row("c.jpg", (0, 0.9, [0.0, 0.0, 1.0, 1.0]), (0, 0.8, [0.0, 0.0, 2.0, 2.0]), (1, 0.7, [3.0, 3.0, 4.0, 4.0]))


def open_csv(out: Path, **options: Any) -> Any:
    return open_sink(out, task="detection", labels=LABELS, made_by=("cells", 2), **options)


def test_csv_has_one_line_for_each_object(tmp_path: Path) -> None:
    with open_csv(tmp_path / "r.csv") as sink:
        for item in (TWO, NONE, BAD):
            sink.write(item)
    with (tmp_path / "r.csv").open(newline="") as stream:
        header, *lines = csv.reader(stream)
    assert ",".join(header) == ("image,task,model,version,error,width,height,objects,label,index,score,x1,y1,x2,y2")
    known = ["detection", "cells", "2", "", "128", "96"]
    assert lines == [
        ["a.jpg", *known, "2", "blau, hell", "1", "0.75", "1.5", "2.0", "30.25", "40.0"],
        ["a.jpg", *known, "2", "red", "0", "0.5", "0.0", "0.0", "10.0", "5.0"],
        ["multi\nline.jpg", *known, "0", *[""] * 7],
        ["b.jpg", "", "", "", 'is "broken"', *[""] * 10],
    ]


def test_csv_of_objects_refuses_other_tasks(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no column for classes"), open_csv(tmp_path / "r.csv") as sink:
        sink.write({"image": "a.jpg", "classes": []})


@pytest.mark.parametrize("lost", range(0, 260, 13))
def test_csv_is_continued_image_by_image(tmp_path: Path, lost: int) -> None:
    """The earlier run may end at any byte: an image with a part of its lines does not count as done."""
    rows = [TWO, BAD, NONE, LAST]
    out, whole = tmp_path / "r.csv", tmp_path / "whole.csv"
    with open_csv(whole) as sink:
        for item in rows:
            sink.write(item)
    with contextlib.suppress(RuntimeError), open_csv(out) as sink:
        for item in rows:
            sink.write(item)
        raise RuntimeError("stop")
    part = tmp_path / "r.csv.part"
    part.write_bytes(part.read_bytes()[: -lost or None])
    with open_csv(out, resume=True) as sink:
        has_row = [sink.holds(item["image"]) for item in rows]
        assert has_row == sorted(has_row, reverse=True)
        assert has_row[-1] == (lost == 0)
        assert sink.done_before == sum(has_row) - has_row[1]
        assert sink.failed_before == has_row[1]
        for item in rows:
            if not sink.holds(item["image"]):
                sink.write(item)
    assert out.read_bytes() == whole.read_bytes()


def test_csv_of_another_kind_is_not_continued(tmp_path: Path) -> None:
    out = tmp_path / "r.csv"
    with open_sink(out, top_k=1) as sink:
        sink.write({"image": "a.jpg", "error": "x"})
    with pytest.raises(InvalidInput, match="has other columns than image,task"), open_csv(out, resume=True):
        pass
    with open_csv(out) as sink:
        sink.write(TWO)
    header, first, second = out.read_text().splitlines()
    for damaged in ([header, first, second.replace("a.jpg", "z.jpg")], [header, first.replace(",2,", ",x,")]):
        out.write_text("\n".join(damaged) + "\n")
        with pytest.raises(InvalidInput, match="is not a CSV file of cvserve predict"), open_csv(out, resume=True):
            pass


def test_coco_results(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    with open_sink(out, task="detection", labels=LABELS) as sink:
        for item in (TWO, NONE, BAD, {**LAST, "image": "sub/000000000042.jpg"}):
            sink.write(item)
        assert not out.exists()
    assert os.listdir(tmp_path) == ["r.json"]
    found = json.loads(out.read_text())
    assert found[0] == {
        "image_id": 1,
        "category_id": 2,
        "bbox": [1.5, 2.0, 28.75, 38.0],
        "score": 0.75,
        "file_name": "a.jpg",
    }
    assert [item["image_id"] for item in found] == [1, 1, 42, 42, 42]
    assert [item["category_id"] for item in found] == [2, 1, 1, 1, 2]


@pytest.mark.parametrize("rows", [[], [NONE], [BAD]])
def test_coco_results_without_objects_are_an_empty_list(tmp_path: Path, rows: list) -> None:
    with open_sink(tmp_path / "r.txt", task="detection", labels=LABELS, format="coco") as sink:
        for item in rows:
            sink.write(item)
    assert json.loads((tmp_path / "r.txt").read_text()) == []


def test_coco_results_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with open_sink("-", task="detection", labels=LABELS, format="coco") as sink:
        sink.write(TWO)
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_coco_results_cannot_be_continued(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    with pytest.raises(InvalidInput, match="COCO results cannot be continued, for they do not tell which"):
        open_sink(out, task="detection", labels=LABELS, resume=True)
    with contextlib.suppress(RuntimeError), open_sink(out, task="detection", labels=LABELS) as sink:
        assert not sink.resumable
        sink.write(TWO)
        raise RuntimeError("stop")
    with pytest.raises(InvalidInput, match=r"unfinished run: drop it with --overwrite$"):
        open_sink(out, task="detection", labels=LABELS)
    with open_sink(out, task="detection", labels=LABELS, overwrite=True) as sink:
        sink.write(TWO)
    assert len(json.loads(out.read_text())) == 2


def test_coco_results_refuse_other_tasks(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="of captioning and detection models, not of classification"):
        open_sink(tmp_path / "r.json", format="coco")
    with pytest.raises(InvalidInput, match="only in COCO results, not in csv"):
        open_sink(tmp_path / "r.csv", task="detection", labels=LABELS, numbers=OwnNumbers(LABELS))
    with open_sink(tmp_path / "classes.json") as sink:  # the suffix .json has no other meaning for this task
        sink.write(BAD)
    assert json.loads((tmp_path / "classes.json").read_text()) == BAD
