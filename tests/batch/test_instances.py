"""The number of replicas that are opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_artifact import publish_tiny

from cvserve.batch.instances import open_instances
from cvserve.errors import FailedPrecondition, NotFound
from cvserve.pipeline import Pipeline


def test_a_runtime_with_concurrent_calls_is_opened_once_and_closed(tmp_path: Path) -> None:
    publish_tiny(tmp_path / "colour")
    with open_instances(tmp_path / "colour", runtime="onnx", instances=3) as pipelines:
        assert len(pipelines) == 3
        assert len(set(map(id, pipelines))) == 1
    with pytest.raises(FailedPrecondition, match="closed"):
        pipelines[0](np.zeros((4, 4, 3), np.uint8))


def test_other_runtimes_are_opened_once_an_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_tiny(tmp_path / "colour")
    monkeypatch.setattr("cvserve.batch.instances.CONCURRENT", ())
    closed: list[Pipeline] = []
    monkeypatch.setattr(Pipeline, "close", lambda self: closed.append(self))
    with open_instances(tmp_path / "colour", runtime="onnx", instances=3) as pipelines:
        assert len(set(map(id, pipelines))) == 3
    assert sorted(map(id, closed)) == sorted(map(id, pipelines))


def test_a_missing_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound), open_instances(tmp_path / "nothing"):
        pass
