"""BLEU, ROUGE-L and CIDEr-D: by hand, and COCO's own Python implementation as the oracle."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.errors import InvalidInput
from cvserve.evaluation.captions import bleu, caption_report, cider_d, rouge_l
from cvserve.evaluation.captions.bleu import Matches
from cvserve.evaluation.captions.rouge import longest_common
from cvserve.text import caption_words

# Five references of 15, 11, 12, 8 and 10 words, of which "a dog is" is in one and "hiding" in none.
DOG = [
    "a brown dog with a red collar lies under the wooden table and looks up",
    "there is a dog under the table that looks very tired",
    "some dog is sitting below a table in the kitchen of somebody",
    "a dog is lying under a wooden table",
    "the small animal has found a place beneath the furniture",
]


def words(text: str) -> list[str]:
    return text.split()


def coco(answers: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> dict[str, Any]:
    """(all, each) by pycocoevalcap, whose scorers take sentences as text with spaces."""
    pytest.importorskip("pycocoevalcap")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    answered = {number: [" ".join(answer)] for number, answer in enumerate(answers)}
    true = {number: [" ".join(item) for item in own] for number, own in enumerate(references)}
    return {
        "bleu": Bleu(4).compute_score(true, answered, verbose=0),
        "rouge": Rouge().compute_score(true, answered),
        "cider": Cider().compute_score(true, answered),
    }


def assert_as_coco(answers: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> None:
    wanted = coco(answers, references)
    ours = bleu(answers, references)
    np.testing.assert_allclose(ours.corpus, wanted["bleu"][0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.transpose(ours.each), wanted["bleu"][1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(rouge_l(answers, references), wanted["rouge"][1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(cider_d(answers, references), wanted["cider"][1], rtol=1e-9, atol=1e-9)


def test_the_worked_example_of_bleu() -> None:
    """Precisions 3/4, 2/3, 1/2 and 0/1; the closest of the references has 8 words: brevity penalty 1/e."""
    answer, references = words("a dog is hiding"), [text.split() for text in DOG]
    assert [len(item) for item in references] == [15, 11, 12, 8, 10]
    matches = Matches.of(answer, references)
    assert matches == Matches((3, 2, 1, 0), (4, 3, 2, 1), 4, 8)
    scores = bleu([answer], [references]).corpus
    assert scores[0] == pytest.approx(math.exp(-1) * 3 / 4, abs=1e-6)
    assert scores[1] == pytest.approx(math.exp(-1) * (3 / 4 * 2 / 3) ** (1 / 2), abs=1e-6)
    assert scores[2] == pytest.approx(math.exp(-1) * (3 / 4 * 2 / 3 * 1 / 2) ** (1 / 3), abs=1e-6)
    assert scores[3] == pytest.approx(0, abs=1e-3)
    assert_as_coco([answer], [references])


def test_counts_are_clipped_and_the_closest_length_counts() -> None:
    """Papineni et al. 2002: seven times "the" has a precision of 2/7; of equally close lengths the shorter counts."""
    references = [words("the cat is on the mat"), words("there is a cat on the mat")]
    assert Matches.of(["the"] * 7, references).right[0] == 2
    assert Matches.of(["a"] * 7, references).reference_words == 7
    assert Matches.of(["a"] * 5, [["a"] * 6, ["a"] * 4]).reference_words == 4


def test_rouge_l_by_hand() -> None:
    """The longest common subsequence of Lin 2004, section 2: police ... the gunman."""
    assert longest_common(words("police kill the gunman"), words("police killed the gunman")) == 3
    assert longest_common(words("the gunman kill police"), words("police killed the gunman")) == 2
    assert rouge_l([["police", "kill"]], [[["police", "killed", "the", "gunman"]]])[0] == pytest.approx(
        (1 + 1.44) * 0.5 * 0.25 / (0.25 + 1.44 * 0.5)
    )


@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
@settings(deadline=None)
def test_the_longest_common_subsequence_by_brute_force(one: list[str], other: list[str]) -> None:
    def parts(words: list[str]) -> set[tuple[str, ...]]:
        found: set[tuple[str, ...]] = {()}
        for word in words:
            found |= {(*part, word) for part in found}
        return found

    assert longest_common(one, other) == max(map(len, parts(one) & parts(other)))


def test_cider_d_by_hand() -> None:
    """Two images, one reference each, n-grams of one word: "a" is in both and weighs nothing."""
    references = [[["a", "dog"]], [["a", "cat"]]]
    # "dog" alone is right among words, and "a dog" among pairs; there are no longer n-grams.
    assert cider_d([["a", "dog"], ["a", "dog"]], references) == pytest.approx([10 * 2 / 4, 0.0])
    # Twice "dog" counts once, and one word more costs exp(-1 / 72).
    norm = 2.0
    singles, pairs = math.exp(-1 / 72) * 1 / norm, math.exp(-1 / 72) / math.sqrt(2)
    assert cider_d([["a", "dog", "dog"], ["a"]], references)[0] == pytest.approx(10 * (singles + pairs) / 4)
    assert cider_d([["a", "dog"]], [[["a", "dog"]]]) == [0.0]  # a single image's words are in all images


WORDS = st.lists(st.sampled_from(["a", "dog", "cat", "on", "the", "mat", "狗", "chó"]), max_size=12)
SETS = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=4)), min_size=1, max_size=6)


@settings(deadline=None)
@given(SETS)
def test_equals_cocos_own_on_random_sentences(images: list[tuple[list[str], list[list[str]]]]) -> None:
    if not any(item for _, own in images for item in own):
        return  # without any word in the references, COCO's CIDEr fails
    assert_as_coco([answer for answer, _ in images], [own for _, own in images])


@pytest.fixture(scope="module")
def val(shared: Path) -> list[list[str]]:
    """The five captions of each of the 79 images."""
    content = json.loads((shared / "data" / "coco_captions" / "captions_val.json").read_bytes())
    found: dict[int, list[str]] = {item["id"]: [] for item in content["images"]}
    for item in content["annotations"]:
        found[item["image_id"]].append(item["caption"])
    return list(found.values())


def test_equals_cocos_own_on_real_captions(val: list[list[str]]) -> None:
    """The first caption of each image, by people, against its others; and the next image's, which is wrong."""
    true = [[caption_words(text) for text in own] for own in val]
    answers, references = [own[0] for own in true], [own[1:] for own in true]
    assert_as_coco(answers, references)
    assert_as_coco(answers[1:] + answers[:1], references)


def test_captions_score_higher_with_their_own_image_than_with_another(val: list[list[str]]) -> None:
    answers, references = [own[0] for own in val], [own[1:] for own in val]
    right, wrong = caption_report(answers, references), caption_report(answers[1:] + answers[:1], references)
    assert (right.images, right.references) == (79, 316)
    for name in ("bleu1", "bleu4", "rouge_l", "cider_d"):
        assert getattr(right, name) > 1.3 * getattr(wrong, name), name
    assert right.cider_d > 10 * wrong.cider_d


def test_a_report() -> None:
    report = caption_report(["A dog!", "a cat", ""], [["the dog", "a  DOG."], ["a cat is here"], ["one"]])
    assert (report.exact, report.images, report.references, report.different) == (1 / 3, 3, 4, 3)
    assert report.words == pytest.approx(4 / 3)
    assert [image.scores.exact for image in report.each] == [True, False, False]
    assert "each" not in report.to_dict()
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    rows, columns = report.table()
    assert len(columns) == 2
    assert dict(rows)["CIDEr-D"] == report.cider_d
    assert "exact 0.3333" in report.headline()


@pytest.mark.parametrize(
    ("answers", "references", "message"),
    [
        ([], [], "no captions"),
        (["a"], [], "1 captions do not fit 0 images"),
        (["a"], [[]], "without a true caption"),
    ],
)
def test_inputs_that_cannot_be_scored(answers: list[str], references: list[list[str]], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        caption_report(answers, references)
