"""Token ids to sentences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cvserve.artifact import CaptioningPostproc, Decoding, PreprocSpec, Vocabulary
from cvserve.artifact.vocabulary import SPECIAL
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.postproc import CaptionResult, NetworkContract, Options, ScoredCaption, decode_outputs
from cvserve.preproc import Geometry

VOCABULARY = Vocabulary(kind="words", tokens=(*SPECIAL, "▁a", "▁dog", "'s", "▁hat"), length=6)
CONTRACT = NetworkContract.of(
    "teller",
    "captioning",
    (),
    PreprocSpec(height=8, width=8),
    CaptioningPostproc(vocabulary=VOCABULARY),
    ("token_ids", "log_probability"),
)
WHOLE = Geometry(8, 8, 1.0, 1.0)


def answer(ids: Any, scores: Any, **options: Any) -> list[CaptionResult]:
    outputs = {"token_ids": np.array(ids, np.int32), "log_probability": np.array(scores, np.float32)}
    return decode_outputs(outputs, [WHOLE] * len(ids), CONTRACT, Options(**options))  # type: ignore[return-value]


def test_one_sentence_per_image() -> None:
    first, second = answer([[1, 4, 5, 6, 7, 2], [4, 5, 2, 4, 4, 4]], [-1.5, -0.25])
    assert first == CaptionResult((ScoredCaption("a dog's hat", -1.5),))
    assert second.best.text == "a dog"  # without <start>, and what follows <end> is left out
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
    with pytest.raises(InvalidInput, match="answered for 1 images, 2 were given"):
        decode_outputs({"token_ids": np.full((1, 3), 4), "log_probability": np.zeros(1)}, [WHOLE, WHOLE], CONTRACT)


def test_the_length_penalty_of_the_decoding_orders_them() -> None:
    """-3 of 2 tokens against -3.3 of 4: the longer one is better by 7 / 6 and 9 / 6."""
    decoding = Decoding(method="beam", beam_width=2, sentences=2, length_penalty=1.0)
    ids = np.array([[[4, 2, 0, 0], [4, 5, 6, 2]]], np.int32)
    outputs = {"token_ids": ids, "log_probability": np.array([[-3.0, -3.3]], np.float32)}
    for spec, wanted in ((decoding, ["a dog's", "a"]), (None, ["a", "a dog's"])):
        contract = replace(CONTRACT, postproc=CaptioningPostproc(vocabulary=VOCABULARY, decoding=spec))
        [result] = decode_outputs(outputs, [WHOLE], contract)
        assert isinstance(result, CaptionResult)
        assert [item.text for item in result.captions] == wanted


ATTENDING = NetworkContract.of(
    "teller",
    "captioning",
    (),
    PreprocSpec(height=8, width=8, resize="letterbox"),
    CaptioningPostproc(vocabulary=VOCABULARY),
    ("token_ids", "log_probability", "attention"),
)


def test_attention_is_placed_on_the_original() -> None:
    """An image of 16 x 8, halved and padded above and below by 2: the grid reaches 4 pixels beyond it."""
    maps = np.random.default_rng(0).random((1, 2, 4, 2, 3)).astype(np.float32)
    outputs = {
        "token_ids": np.array([[[4, 2, 0, 0], [1, 5, 6, 2]]], np.int32),
        "log_probability": np.array([[-2.0, -1.0]], np.float32),
        "attention": maps,
    }
    [result] = decode_outputs(outputs, [Geometry(16, 8, 0.5, 0.5, 0.0, 2.0)], ATTENDING)
    assert isinstance(result, CaptionResult)
    attention = result.attention
    assert attention is not None
    assert attention.words == ("dog", "'s")
    assert attention.box == (0.0, -4.0, 16.0, 12.0)
    assert np.array_equal(attention.maps, maps[0, 1, 1:3])
    assert result == CaptionResult(result.captions), "attention is left out of comparisons, for servers send none"


def test_parts_of_a_word_have_one_map() -> None:
    subwords = Vocabulary(kind="subwords", tokens=(*SPECIAL, "▁do", "g", "▁run"), length=6)
    contract = replace(ATTENDING, postproc=CaptioningPostproc(vocabulary=subwords))
    maps = np.arange(16, dtype=np.float32).reshape(1, 4, 2, 2)
    outputs = {
        "token_ids": np.array([[4, 5, 6, 2]], np.int32),
        "log_probability": np.array([-1.0], np.float32),
        "attention": maps,
    }
    [result] = decode_outputs(outputs, [WHOLE], contract)
    assert isinstance(result, CaptionResult)
    assert result.attention is not None
    assert result.attention.words == ("dog", "run")
    assert np.array_equal(result.attention.maps, [[[2, 3], [4, 5]], [[8, 9], [10, 11]]])
    for wrong in (maps[:, :3], maps.astype(np.int32)):
        with pytest.raises(ArtifactError, match="does not fit token ids"):
            decode_outputs(outputs | {"attention": wrong}, [WHOLE], contract)
