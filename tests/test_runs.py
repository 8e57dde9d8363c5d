"""The run directory: whole, unfinished, damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_network import LABELS, PREPROC, make_model

from cvserve.errors import ArtifactError, NotFound
from cvserve.runs import METRICS_FILE, MODEL_FILE, RUN_FILE, RunDescription, load_run, write_json


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    description = RunDescription(
        task="classification", architecture="small", labels=LABELS, preproc=PREPROC, data="flowers"
    )
    write_json(tmp_path / RUN_FILE, description.model_dump())
    write_json(tmp_path / METRICS_FILE, {"top1": 0.5, "note": "not a number"})
    return tmp_path


def test_a_run_is_read(directory: Path) -> None:
    run = load_run(directory)
    assert (run.labels, run.preproc, run.metrics) == (LABELS, PREPROC, {"top1": 0.5})
    with pytest.raises(NotFound, match="has not finished an epoch"):
        run.load_model()


@pytest.mark.parametrize("content", [b"[0.5]", b"3", b"{", b"\xff"])
@pytest.mark.parametrize("file", [METRICS_FILE, RUN_FILE])
def test_a_damaged_file_is_reported(directory: Path, file: str, content: bytes) -> None:
    (directory / file).write_bytes(content)
    with pytest.raises(ArtifactError, match="is damaged: ") as caught:
        load_run(directory)
    assert "\n" not in str(caught.value)


def test_a_damaged_network_is_reported(directory: Path) -> None:
    path = directory / MODEL_FILE
    make_model().save(path)
    whole = path.read_bytes()
    for content in (b"", b"no network", whole[: len(whole) // 2], whole[:2000] + bytes(2000) + whole[4000:]):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match="Keras cannot load it: ") as caught:
            load_run(directory).load_model()
        assert "\n" not in str(caught.value)
