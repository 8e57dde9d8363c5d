"""`cvserve inspect`: of a model, a version, a repository, and of damaged ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cvserve.cli.inspect import size
from cvserve.cli.main import main


@pytest.fixture
def own(repository: Path, tmp_path: Path) -> Path:
    """A copy of the repository that a test may damage."""
    return Path(shutil.copytree(repository, tmp_path / "models"))


def test_a_model(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(repository / "colour")]) == 0
    text = capsys.readouterr().out
    assert text.startswith("colour, version 2: classification, all files match their hashes\n")
    assert [line.split() for line in text.splitlines() if line.startswith("onnx")] == [
        ["onnx", "float32", "model.onnx", "283", "B", "any", "-", "-"]
    ]
    for line in (
        "input:         images, uint8 [batch, 16, 16, 3], RGB",
        "preprocessing: exact to 16 x 16 (width x height), linear when enlarging",
        "labels:        3: red, green, blue",
        "architecture:  mean colour",
    ):
        assert line in text.splitlines()


def test_figures_of_a_graph(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = own / "colour" / "2" / "manifest.json"
    content = json.loads(file.read_text())
    parity = {"task": "classification", "images": 64, "max_abs_difference": 2.4e-6, "agreement": 1.0, "limit": 1e-4}
    broken = {**parity, "max_abs_difference": 0.5, "agreement": 0.875}
    encoded = {"parity": broken, "pixels_max_difference": 3, "pixels_mean_difference": 0.1}
    content["graphs"][0] |= {"parity": parity, "latency_ms": {"1": 2.5, "8": 14.25}, "encoded": encoded, "batch": 1}
    file.write_text(json.dumps(content))
    assert main(["inspect", str(own / "colour")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines[4:6]] == [
        "onnx float32 model.onnx 283 B 1 2.4e-06, 100.0% same on 64 2.5 ms at 1, 14.2 ms at 8",
        "signature bytes, of encoded images - - - - 5.0e-01, 87.5% same on 64 BROKEN -",
    ]


def test_a_version_as_json(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(repository / "colour"), "--version", "1", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["version"], content["intact"]) == (1, True)
    assert content["labels"] == ["red", "green", "blue"]
    assert content["directory"] == str(repository / "colour" / "1")


def test_a_repository(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(repository)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [["colour", version, "classification", "3", "onnx", "float32", "283", "B"] for version in ("1", "2")]
    assert main(["inspect", str(repository), "--json"]) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert [(row["model"], row["version"], row["intact"], row["formats"]) for row in models] == [
        ("colour", 1, True, ["onnx float32"]),
        ("colour", 2, True, ["onnx float32"]),
    ]


def test_damage_is_found(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = own / "colour" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    assert main(["inspect", str(own / "colour" / "1")]) == 2
    assert "does not match its hash" in capsys.readouterr().err
    assert main(["inspect", str(own)]) == 1
    captured = capsys.readouterr()
    assert "DAMAGED" in captured.out
    assert "1 of 2 inputs failed:" in captured.err
    assert "model.onnx does not match its hash" in captured.err


def test_a_run_directory_gets_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert main(["inspect", str(tmp_path)]) == 2
    assert "is a run, not a model yet; cvserve export" in capsys.readouterr().err


def test_an_empty_folder_is_not_a_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path)]) == 2
    assert "is not a model: it holds neither" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_420_000, "3.4 MB"), (7 * 10**12, "7000.0 GB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
