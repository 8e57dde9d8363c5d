"""`cvserve models`: the networks as a table and as JSON, by task and by wildcard."""

from __future__ import annotations

import json

import pytest

from cvserve.cli.main import main
from cvserve.models import find, list_models


def test_a_table_of_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--task", "detection"]) == 0
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "task", "parameters", "image", "size", "source", "summary"]
    assert [row.split()[0] for row in rows] == list_models("detection")
    row = next(row for row in rows if row.startswith("yolo "))
    parameters = find("detection", "yolo").parameters
    assert parameters is not None
    assert f"{parameters / 1e6:.2f} M" in row
    assert "320" in row
    assert "Li et al., 2020" in row


def test_a_wildcard_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "resnet?8", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["name"], entry["task"], entry["image_size"]) == ("resnet18", "classification", 224)
    assert entry["parameters"] == 11_689_512
    assert entry["paper"]["arxiv"] == "1512.03385"
    assert entry["paper"]["title"] == "Deep Residual Learning for Image Recognition"


def test_all_tasks_are_listed_unless_one_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    tasks = {entry["task"] for entry in json.loads(capsys.readouterr().out)}
    assert tasks == {"classification", "detection", "segmentation", "captioning"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "detektion"], "did you mean 'detection'"),
        (["--task", "detection", "resnet*"], "no network for the task detection has a name like 'resnet*'"),
    ],
)
def test_an_unknown_name_is_one_sentence(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", *words]) == 2
    assert message in capsys.readouterr().err
