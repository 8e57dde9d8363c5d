"""What `cvserve predict` writes of a result."""

from __future__ import annotations

import dataclasses
import json

import pytest

from cvserve.postproc import ClassificationResult, ClassScore

RESULT = ClassificationResult((ClassScore("daisy", 3, 0.98765432), ClassScore("ромашка", 0, 1e-9)))


def test_the_row_is_plain_json() -> None:
    row = RESULT.to_dict()
    assert row == {
        "classes": [
            {"label": "daisy", "index": 3, "score": 0.987654},
            {"label": "ромашка", "index": 0, "score": 0.0},
        ]
    }
    assert json.loads(json.dumps(row)) == row
    assert RESULT.task == "classification"
    assert RESULT.best.label == "daisy"


def test_results_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RESULT.classes = ()  # type: ignore[misc]
    assert hash(RESULT) == hash(ClassificationResult(RESULT.classes))
