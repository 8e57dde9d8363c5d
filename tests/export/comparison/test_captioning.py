"""When two sentences are the same, and how far their log probabilities may be apart."""

from __future__ import annotations

import numpy as np
import pytest

from cvserve.artifact import (
    CaptioningParity,
    CaptioningPostproc,
    FileEntry,
    Graph,
    Manifest,
    OutputSpec,
    PreprocSpec,
    Vocabulary,
)
from cvserve.artifact.vocabulary import SPECIAL
from cvserve.errors import ArtifactError
from cvserve.export.task_export import TASK_EXPORTS

EXPORT = TASK_EXPORTS["captioning"]
TOLERANCE = 1e-4

Answers = dict[str, np.ndarray]


def manifest() -> Manifest:
    return Manifest(
        name="teller",
        version=1,
        task="captioning",
        preproc=PreprocSpec(height=8, width=8),
        outputs=tuple(OutputSpec(name=name, role=name) for name in ("token_ids", "log_probability")),
        postproc=CaptioningPostproc(vocabulary=Vocabulary(kind="words", tokens=(*SPECIAL, "▁a", "▁b"), length=4)),
        graphs=(Graph(format="onnx", files=(FileEntry(path="model.onnx", bytes=0, sha256="0" * 64),)),),
    )


def answers(sentences: int = 1) -> Answers:
    ids = np.tile(np.array([4, 5, 2], np.int32), (3, sentences, 1))
    scores = np.tile(np.array([-0.5, -20.0, -3.0], np.float32)[:, None], (1, sentences))
    return (
        {"token_ids": ids, "log_probability": scores}
        if sentences > 1
        else {
            "token_ids": ids[:, 0],
            "log_probability": scores[:, 0],
        }
    )


@pytest.mark.parametrize("sentences", [1, 2])
def test_log_probabilities_are_compared_relatively_beyond_one(sentences: int) -> None:
    comparison = EXPORT.comparison(manifest(), TOLERANCE)
    assert comparison.limit == 1e-4
    other = answers(sentences)
    other["log_probability"] = other["log_probability"] + np.float32(1e-3)
    found = comparison.compare(other, answers(sentences))
    assert found.differences == pytest.approx([1e-3, 1e-3 / 20, 1e-3 / 3], rel=1e-2)
    assert found.agreeing.all()


def test_another_word_is_another_sentence_and_its_score_is_not_compared() -> None:
    comparison = EXPORT.comparison(manifest(), TOLERANCE)
    other = answers(2)
    other["token_ids"][1, 1, 0] = 5
    other["log_probability"][1, 1] = -9
    found = comparison.compare(other, answers(2))
    assert found.agreeing.tolist() == [True, False, True]
    assert found.differences.max() == 0

    def holds(agreement: float, limit: float | None) -> bool:
        figures = {"agreement_limit": limit}
        return CaptioningParity(images=3, max_abs_difference=0, agreement=agreement, limit=1e-4, **figures).holds

    assert comparison.figures([found]) == {"agreement_limit": 1.0}
    assert (holds(2 / 3, 1.0), holds(1.0, 1.0)) == (False, True)
    # A rounded pixel may change a sentence: for encoded images this is reported, and is no failure.
    assert EXPORT.encoded_comparison(manifest()).figures([found]) == {"agreement_limit": None}
    assert holds(2 / 3, None)


def test_nan_is_never_the_same() -> None:
    other = answers()
    other["log_probability"][2] = np.nan
    assert np.isnan(EXPORT.comparison(manifest(), TOLERANCE).compare(other, answers()).differences[2])


def test_sentences_of_another_shape() -> None:
    comparison = EXPORT.comparison(manifest(), TOLERANCE)
    with pytest.raises(ArtifactError, match=r"the token ids are \[3, 2\], not \[3, 3\]"):
        comparison.compare(answers() | {"token_ids": answers()["token_ids"][:, :2]}, answers())
    with pytest.raises(ArtifactError, match=r"the log probabilities are \[3, 2\], not \[3, 1\]"):
        comparison.compare(answers() | {"log_probability": np.zeros((3, 2), np.float32)}, answers())
