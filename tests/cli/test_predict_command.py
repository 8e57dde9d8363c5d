"""`cvserve predict`, as a person or a script runs it."""

from __future__ import annotations

import csv
import json
import os
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
    assert "3 images in " in done.stderr
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


def test_bad_files_are_listed_and_the_others_predicted(cvserve, repository: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no image")
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


def test_stdout_has_only_the_rows(cvserve, repository: Path, photos: Path) -> None:
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
        (["empty"], "there are no images in empty"),
        (["-"], "there are no images in -"),
        (["missing.jpg"], "1 of 1 inputs failed"),
        (["*.tiff"], "no file matches *.tiff"),
        (["red.png", "--version", "7"], "has no version 7; it has 1, 2"),
        (["red.png", "--runtime", "tensorflow"], "tensorflow"),
        (["red.png", "--out", "empty"], "empty is a folder; give a file"),
        (["red.png", "--resume"], "- cannot be continued"),
    ],
)
def test_exit_code_2_if_no_image_can_be_used(
    cvserve, repository: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
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


def test_a_folder_of_links_to_folders(cvserve, repository: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    (tmp_path / "days" / "1").symlink_to(photos / "sub")
    done = cvserve("predict", repository / "colour", "days", "--out", "r.jsonl")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r.jsonl").read_text())["image"] == "1/green.jpg"


def test_rows_are_utf8_even_if_a_name_is_not(cvserve, repository: Path, photos: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xff\xfename.png")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / name).write_bytes((photos / "red.png").read_bytes())
    words = ["predict", repository / "colour", "odd", "--out", "r.jsonl"]
    assert cvserve(*words).returncode == 0
    assert json.loads((tmp_path / "r.jsonl").read_bytes().decode())["image"] == name
    assert "1 were there already" in cvserve(*words, "--resume").stderr


def test_resume_refuses_another_top_k(cvserve, repository: Path, photos: Path, tmp_path: Path) -> None:
    words = ["predict", repository / "colour", "--out", "r.jsonl"]
    assert cvserve(*words, photos / "red.png").returncode == 0
    first = (tmp_path / "r.jsonl").read_text()
    done = cvserve(*words, photos, "--resume", "--top-k", "1")
    assert done.returncode == 2
    assert "r.jsonl has rows of top-k 3, which top-k 1 cannot continue: give --top-k 3, or another" in done.stderr
    assert (tmp_path / "r.jsonl").read_text() == first
    # The model has only three classes, so larger numbers change nothing.
    assert cvserve(*words, photos / "red.png", "--resume", "--top-k", "9").returncode == 0


def test_errors_are_tried_again_when_their_lines_are_deleted(
    cvserve, repository: Path, photos: Path, tmp_path: Path
) -> None:
    """The help describes this."""
    (tmp_path / "late.png").write_text("no image")
    words = ["predict", repository / "colour", "late.png", photos / "red.png", "--resume", "--out"]
    assert cvserve(*words, "old.jsonl").returncode == 1
    (tmp_path / "late.png").write_bytes((photos / "blue.png").read_bytes())
    done = cvserve(*words, "old.jsonl")
    assert done.returncode == 1
    assert "1 earlier rows of old.jsonl are errors" in done.stderr
    command = "grep -v '\"error\":' old.jsonl > new.jsonl"
    assert command in " ".join(cvserve("predict", "--help").stdout.split())
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert cvserve(*words, "new.jsonl").returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "new.jsonl").read_text().splitlines()]
    assert [row["classes"][0]["label"] for row in rows] == ["red", "blue"]


# A shell that starts `make test &` lets its children ignore SIGINT; a terminal does not.
_WITH_CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from cvserve.cli.main import main
sys.exit(main())
"""


def test_ctrl_c_keeps_what_was_done(
    repository: Path, photos: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-c", _WITH_CTRL_C, "predict", str(repository / "colour"), "-", "--out", "r.jsonl"]
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
    process.stdin.write(f"{photos}/red.png\n" * 9)  # stdin stays open, so it waits for more
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
