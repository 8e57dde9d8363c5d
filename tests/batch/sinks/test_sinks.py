"""Files of results: complete or absent, and continued where the earlier run ended."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import sys
from pathlib import Path

import pytest

from cvserve.batch import open_sink
from cvserve.errors import InvalidInput

ODD_NAME = os.fsdecode(b"caf\xe9 \xc3\xa9.jpg")  # a name that is no UTF-8


def row(name: str) -> dict:
    classes = [{"label": "r,e\nd", "index": 0, "score": 0.75}, {"label": "blau", "index": 2, "score": 0.25}]
    return {"image": name, "task": "classification", "model": "colour", "version": 3, "classes": classes}


def bad(name: str) -> dict:
    return {"image": name, "error": 'is "broken"'}


def read_json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        return list(csv.reader(stream))


def test_json_lines_hold_the_rows_exactly(tmp_path: Path) -> None:
    out = tmp_path / "new" / "results.jsonl"
    rows = [row("a.jpg"), bad("b\nc.jpg"), row(ODD_NAME), row("ünï.jpg")]
    with open_sink(out) as sink:
        for item in rows:
            sink.write(item)
    assert read_json_lines(out) == rows
    text = out.read_bytes().decode()  # the file is UTF-8, although a name is not
    assert "ünï" in text  # readable, not escaped
    assert r"caf\udce9 é.jpg" in text


def test_csv_has_a_column_for_each_value(tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    with open_sink(out, top_k=2) as sink:
        sink.write(row(ODD_NAME))
        sink.write(bad("b.jpg"))
    header, first, second = read_csv(out)
    assert ",".join(header) == ("image,task,model,version,error,label_1,index_1,score_1,label_2,index_2,score_2")
    assert first == [ODD_NAME, "classification", "colour", "3", "", "r,e\nd", "0", "0.75", "blau", "2", "0.25"]
    assert second == ["b.jpg", "", "", "", 'is "broken"', "", "", "", "", "", ""]


def test_csv_refuses_what_it_has_no_column_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no column for detections"), open_sink(tmp_path / "x.csv") as sink:
        sink.write({"image": "a.jpg", "detections": []})


def test_the_suffix_or_the_caller_decides_the_format(tmp_path: Path) -> None:
    for name, format in (("a.csv", None), ("b.txt", "csv")):
        with open_sink(tmp_path / name, format=format):
            pass
        assert (tmp_path / name).read_text().startswith("image,")
    with open_sink(tmp_path / "c.txt") as sink:
        sink.write(bad("x"))
    assert (tmp_path / "c.txt").read_text().startswith("{")
    with pytest.raises(InvalidInput, match="'xml' is not a format"):
        open_sink(tmp_path / "d", format="xml")


def test_an_earlier_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    out.write_text("earlier\n")
    with open_sink(out) as sink:
        sink.write(row("a.jpg"))
        sink.flush()
        assert out.read_text() == "earlier\n"
    assert read_json_lines(out) == [row("a.jpg")]
    assert os.listdir(tmp_path) == ["results.jsonl"]


def fail_after(out: Path, rows: list[dict]) -> None:
    with contextlib.suppress(RuntimeError), open_sink(out, top_k=2) as sink:
        for item in rows:
            sink.write(item)
        raise RuntimeError("stop")


@pytest.mark.parametrize("name", ["results.jsonl", "results.csv"])
def test_an_unfinished_file_is_neither_published_nor_deleted(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    fail_after(out, [row("a.jpg")])
    assert not out.exists()
    with pytest.raises(InvalidInput, match=r"unfinished run: continue it with --resume, or drop it with --overwrite"):
        open_sink(out, top_k=2)
    with open_sink(out, overwrite=True, top_k=2) as sink:
        sink.write(row("b.jpg"))
    text = out.read_text()
    assert "b.jpg" in text
    assert "a.jpg" not in text


@pytest.mark.parametrize("name", ["results.jsonl", "results.csv"])
@pytest.mark.parametrize("lost", [0, 1, 2, 9, 30])
def test_resume_drops_an_incomplete_last_line_and_keeps_the_others(tmp_path: Path, name: str, lost: int) -> None:
    """The earlier run may end at any byte: the resumed file equals that of an uninterrupted run."""
    rows = [row("a.jpg"), bad("b.jpg"), row(ODD_NAME), row("multi\nline.jpg")]
    out, whole = tmp_path / name, tmp_path / f"whole-{name}"
    with open_sink(whole, top_k=2) as sink:
        for item in rows:
            sink.write(item)
    fail_after(out, rows)
    part = tmp_path / f"{name}.part"
    assert part.read_bytes() == whole.read_bytes()
    part.write_bytes(part.read_bytes()[: -lost or None])
    with open_sink(out, resume=True, top_k=2) as sink:
        assert [sink.holds(item["image"]) for item in rows] == [True, True, True, lost == 0]
        assert (sink.done_before, sink.failed_before) == (2 + (lost == 0), 1)
        for item in rows:
            if not sink.holds(item["image"]):
                sink.write(item)
    assert out.read_bytes() == whole.read_bytes()
    assert not part.exists()


@pytest.mark.parametrize("name", ["results.jsonl", "results.csv"])
def test_resume_continues_a_finished_file_and_starts_a_new_one(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    for item in (row("a.jpg"), row("b.jpg")):
        with open_sink(out, resume=True, top_k=2) as sink:
            assert not sink.holds(item["image"])
            sink.write(item)
    with open_sink(out, resume=True, top_k=2) as sink:
        assert sink.holds("a.jpg")
        assert sink.holds("b.jpg")
    assert out.read_text().count("a.jpg") == 1


def test_resume_refuses_files_that_are_not_of_this_kind(tmp_path: Path) -> None:
    lines = tmp_path / "results.jsonl"
    lines.write_text('{"image": "a"}\nnonsense\n{"image": "b"}\n')
    with pytest.raises(InvalidInput, match=r"line 2 is not a row"), open_sink(lines, resume=True):
        pass
    table = tmp_path / "results.csv"
    with open_sink(table, top_k=2):
        pass
    table.write_text("image,task,model,version,error,width\n")
    with pytest.raises(InvalidInput, match="other columns than"), open_sink(table, resume=True, top_k=3):
        pass
    assert table.exists()


@pytest.mark.parametrize("name", ["results.jsonl", "results.csv"])
def test_resume_refuses_rows_of_another_model_or_version(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    with open_sink(out, top_k=2, made_by=("colour", 3)) as sink:
        sink.write(bad("b.jpg"))
        sink.write(row("a.jpg"))
    for other in (("colour", 4), ("shape", 3)):
        sentence = rf"has rows of colour version 3, which {other[0]} version {other[1]} cannot continue"
        with pytest.raises(InvalidInput, match=sentence), open_sink(out, resume=True, top_k=2, made_by=other):
            pass
        assert os.listdir(tmp_path) == [name]  # no file is left that the next run would take as unfinished
    with open_sink(out, resume=True, top_k=2, made_by=("colour", 3)) as sink:
        assert sink.holds("a.jpg")


@pytest.mark.parametrize("name", ["results.jsonl", "results.csv"])
@pytest.mark.parametrize("wanted", [1, 3])
def test_resume_refuses_rows_with_another_number_of_classes(tmp_path: Path, name: str, wanted: int) -> None:
    out = tmp_path / name
    with open_sink(out, top_k=2) as sink:
        sink.write(bad("b.jpg"))
        sink.write(row("a.jpg"))
    known = f"{out} has rows of top-k 2, which top-k {wanted} cannot continue: give --top-k 2, or another --out"
    sentence = f"^{re.escape(known)}$"
    with pytest.raises(InvalidInput, match=sentence), open_sink(out, resume=True, top_k=wanted):
        pass
    assert os.listdir(tmp_path) == [name]
    with open_sink(out, resume=True, top_k=2) as sink:
        assert sink.holds("a.jpg")


def test_the_classes_of_other_tasks_are_not_counted(tmp_path: Path) -> None:
    found = {"image": "a.jpg", "segmentation": {"classes": [], "class_map": ""}}
    for task in ("segmentation", "captioning", "detection"):
        out = tmp_path / f"{task}.jsonl"
        with open_sink(out, task=task, top_k=2) as sink:
            sink.write({**found, "task": task})
        with open_sink(out, task=task, resume=True, top_k=5) as sink:
            assert sink.holds("a.jpg")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("r.jsonl", '{"image": 3}\n', "line 1 is not a row of cvserve predict"),
        ("r.jsonl", "[1]\n", "line 1 is not a row of cvserve predict"),
        ("r.csv", f"image,{'x' * 200_000}\n", "is not a CSV file of cvserve predict: field larger than"),
    ],
)
def test_resume_refuses_odd_content_with_a_sentence(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInput, match=sentence), open_sink(tmp_path / name, resume=True):
        pass
    assert (tmp_path / name).read_text() == content


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_stdout_takes_any_name(monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", stdout)
    with open_sink("-", format=format, top_k=2) as sink:
        sink.write(bad(ODD_NAME))
    assert (stdout.encoding, stdout.errors) == ("ascii", "strict")  # as it was
    if format == "jsonl":
        assert json.loads(raw.getvalue()) == bad(ODD_NAME)
    else:
        assert os.fsencode(ODD_NAME) in raw.getvalue()


def test_resume_of_a_stream_is_refused(tmp_path: Path) -> None:
    for out in ("-", os.devnull):
        with pytest.raises(InvalidInput, match="cannot be continued"):
            open_sink(out, resume=True)
    with pytest.raises(InvalidInput, match="contradict"):
        open_sink(tmp_path / "x", resume=True, overwrite=True)
    with pytest.raises(InvalidInput, match=r"is a folder; give a file"):
        open_sink(tmp_path)


def test_stdout_and_devices_are_written_directly(capsys: pytest.CaptureFixture[str]) -> None:
    with open_sink("-") as sink:
        sink.write(bad("a.jpg"))
    assert json.loads(capsys.readouterr().out) == bad("a.jpg")
    with open_sink(os.devnull) as sink:
        sink.write(bad("a.jpg"))
    assert not Path(os.devnull + ".part").exists()
