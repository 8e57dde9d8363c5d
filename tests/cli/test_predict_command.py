"""`cvserve predict`, as a person or a script runs it."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cvserve.cli.failures import list_failures


def test_a_folder_to_json_lines_and_annotated_copies(cvserve, repository: Path, photos: Path, tmp_path: Path) -> None:
    done = cvserve("predict", repository / "colour", photos, "--out", "results.jsonl", "--annotate", "out/")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "predicting: 3/3 images" in done.stderr
    assert "3 pictures in " in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(row["image"], row["classes"][0]["label"]) for row in rows] == [
        ("blue.png", "blue"),
        ("red.png", "red"),
        ("sub/green.jpg", "green"),
    ]
    assert rows[0] == {
        "image": "blue.png",
        "task": "classification",
        "model": "colour",
        "version": 2,
        "classes": [
            {"label": "blue", "index": 2, "score": pytest.approx(1, abs=1e-6)},
            {"label": "red", "index": 0, "score": pytest.approx(0, abs=1e-6)},
            {"label": "green", "index": 1, "score": pytest.approx(0, abs=1e-6)},
        ],
    }
    assert (tmp_path / "out" / "sub" / "green.jpg.jpg").is_file()


def test_bad_files_are_listed_and_the_others_done(cvserve, repository: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no picture")
    done = cvserve(
        "predict", repository / "colour", photos / "red.png", "broken.jpg", "missing.jpg", "--out", "results.csv"
    )
    assert done.returncode == 1
    assert "2 of 3 inputs failed:\n  broken.jpg: " in done.stderr
    assert "  missing.jpg: no such file" in done.stderr
    with (tmp_path / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label_1"] for row in rows] == ["red", "", ""]
    assert rows[2]["error"] == "no such file"


def test_stdout_carries_the_rows_alone(cvserve, repository: Path, photos: Path) -> None:
    done = cvserve(
        "predict", repository / "colour" / "1", "-", "--top-k", "1", stdin=f"{photos}/red.png\n{photos}/blue.png\n"
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["version"], [item["label"] for item in row["classes"]]) for row in rows] == [
        (1, ["red"]),
        (1, ["blue"]),
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["empty"], "there are no pictures in empty"),
        (["-"], "there are no pictures in -"),
        (["missing.jpg"], "1 of 1 inputs failed"),
        (["*.tiff"], "no file matches *.tiff"),
        (["red.png", "--version", "7"], "has no version 7; it has 1, 2"),
        (["red.png", "--runtime", "tensorflow"], "tensorflow"),
        (["red.png", "--out", "empty"], "empty is a folder; give a file"),
        (["red.png", "--resume"], "- cannot be continued"),
    ],
)
def test_nothing_could_be_done(cvserve, repository: Path, tmp_path: Path, words: list[str], sentence: str) -> None:
    (tmp_path / "empty").mkdir()
    done = cvserve("predict", repository / "colour", *words, stdin="")
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_finished_run_can_be_repeated_and_extended(cvserve, repository: Path, photos: Path, tmp_path: Path) -> None:
    words = ["predict", repository / "colour", "--out", "results.jsonl"]
    assert cvserve(*words, photos / "red.png").returncode == 0
    first = (tmp_path / "results.jsonl").read_text()
    assert cvserve(*words, photos / "red.png").returncode == 0
    assert (tmp_path / "results.jsonl").read_text() == first
    done = cvserve(*words, photos / "red.png", photos / "blue.png", "--resume")
    assert done.returncode == 0
    assert "1 were there already" in done.stderr
    assert (tmp_path / "results.jsonl").read_text().startswith(first)


def test_ctrl_c_keeps_what_was_done(
    repository: Path, photos: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "cvserve.cli", "predict", str(repository / "colour"), "-", "--out", "r.jsonl"]
    process = subprocess.Popen(
        [*command, "--batch-size", "1", "--workers", "1", "--instances", "1"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(f"{photos}/red.png\n" * 9)  # and no end: it waits for more
    process.stdin.flush()
    part, end = tmp_path / "r.jsonl.part", time.monotonic() + 60
    while not (part.exists() and part.read_text().count("\n") >= 3) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    remarks = process.stderr.read()
    process.stdin.close()
    process.stderr.close()
    assert process.wait(timeout=60) == 130
    assert "what was done is in r.jsonl.part; --resume continues it" in remarks
    assert "cvserve: interrupted" in remarks
    assert "Traceback" not in remarks
    assert not (tmp_path / "r.jsonl").exists()


def test_only_the_first_failures_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    failed = [(f"{number}.jpg", "is empty") for number in range(25)]
    assert list_failures(failed, 400, done=600, where="r.jsonl") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "400 of 1000 inputs failed:"
    assert lines[-1] == "  and 380 more, see r.jsonl"
    assert len(lines) == 22
    assert list_failures([], 0) == 0
    assert list_failures(failed, 25, done=0) == 2
