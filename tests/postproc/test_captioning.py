"""Token ids to sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cvserve.artifact import PostprocSpec, PreprocSpec, Vocabulary
from cvserve.artifact.vocabulary import SPECIAL
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.postproc import CaptionResult, NetworkContract, ScoredCaption, decode_outputs
from cvserve.preproc import Geometry

VOCABULARY = Vocabulary(kind="words", tokens=(*SPECIAL, "▁a", "▁dog", "'s", "▁hat"), length=6)
CONTRACT = NetworkContract.of(
    "teller",
    "captioning",
    (),
    PreprocSpec(height=8, width=8),
    PostprocSpec(vocabulary=VOCABULARY),
    ("token_ids", "log_probability"),
)
WHOLE = Geometry(8, 8, 1.0, 1.0)


def answer(ids: Any, scores: Any, **wishes: Any) -> list[CaptionResult]:
    outputs = {"token_ids": np.array(ids, np.int32), "log_probability": np.array(scores, np.float32)}
    return decode_outputs(outputs, [WHOLE] * len(ids), CONTRACT, **wishes)  # type: ignore[return-value]


def test_a_sentence_a_picture() -> None:
    first, second = answer([[1, 4, 5, 6, 7, 2], [4, 5, 2, 4, 4, 4]], [-1.5, -0.25])
    assert first == CaptionResult((ScoredCaption("a dog's hat", -1.5),))
    assert second.best.text == "a dog"  # without <start>, and what follows <end> is not said
    assert first.to_dict() == {"captions": [{"text": "a dog's hat", "log_probability": -1.5}]}


def test_several_sentences_come_best_first() -> None:
    ids = [[[4, 5, 2], [4, 7, 2], [7, 2, 0]]]
    assert [item.text for item in answer(ids, [[-3.0, -1.0, -2.0]])[0].captions] == ["a hat", "hat", "a dog"]
    assert [item.text for item in answer(ids, [[-3.0, -1.0, -2.0]], max_results=1)[0].captions] == ["a hat"]
    assert [item.text for item in answer(ids, [[-1.0, -1.0, -1.0]], max_results=2)[0].captions] == ["a dog", "a hat"]


@pytest.mark.parametrize(
    ("ids", "scores", "message"),
    [
        ([[4, 9, 2]], [-1.0], "no token 9; the vocabulary has 8"),
        ([[4, 5, 2]], [[-1.0, -2.0]], r"token ids \[1, 1, 3\] do not fit log probabilities \[1, 2\]"),
        ([[4, 5, 2]], [np.nan], "NaN"),
    ],
)
def test_outputs_that_are_wrong(ids: Any, scores: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        answer(ids, scores)


def test_what_the_contract_lacks() -> None:
    outputs = {"token_ids": np.zeros((1, 3), np.float32), "log_probability": np.zeros(1)}
    with pytest.raises(ArtifactError, match="whole numbers, not float32"):
        decode_outputs(outputs, [WHOLE], CONTRACT)
    with pytest.raises(ArtifactError, match="no output 'token_ids', only"):
        decode_outputs({"log_probability": np.zeros(1)}, [WHOLE], CONTRACT)
    with pytest.raises(InvalidInput, match="answered for 1 pictures, 2 were given"):
        decode_outputs({"token_ids": np.full((1, 3), 4), "log_probability": np.zeros(1)}, [WHOLE, WHOLE], CONTRACT)
