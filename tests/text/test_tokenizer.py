"""Captions to ids and back, in words and in subwords."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.artifact import Vocabulary
from cvserve.artifact.vocabulary import END, PAD, SPACE, SPECIAL, START, UNKNOWN
from cvserve.data import Scenes
from cvserve.errors import InvalidInput
from cvserve.text import Tokenizer, caption_words, decode, learn_vocabulary
from cvserve.text.pieces import readable, units, word_pieces

KINDS: tuple[Literal["words", "subwords"], ...] = ("words", "subwords")

CAPTIONS = (
    "A dog isn't on the grass.",
    "The man's dog, on the (green) grass!",
    "Một con chó đang chạy trên cỏ",
    "一只狗在草地上跑。",
    "草地上有一只狗",
    "Der Hund läuft über eine Straße",
    "صورة كلب",
)
READABLE = (
    "a dog isn't on the grass",
    "the man's dog on the green grass",
    "một con chó đang chạy trên cỏ",
    "一只狗在草地上跑",
    "草地上有一只狗",
    "der hund läuft über eine straße",
    "صورة كلب",
)
TEXTS = st.lists(st.text(alphabet="abno't s狗在が\u0301éƠđя।ก"), min_size=1, max_size=5)


def lossless(captions: tuple[str, ...] | list[str], kind: Literal["words", "subwords"]) -> Tokenizer:
    """A tokenizer that knows all words of these captions, with room for each of them."""
    vocabulary = learn_vocabulary(captions, kind=kind, min_count=1, size=500)
    longest = max(len(Tokenizer(vocabulary).ids(text)) for text in captions)
    return Tokenizer(vocabulary.model_copy(update={"length": longest + 2}))


@pytest.mark.parametrize("kind", KINDS)
def test_encoded_captions_are_decoded_again(kind: Literal["words", "subwords"]) -> None:
    tokenizer = lossless(CAPTIONS, kind)
    assert tuple(tokenizer.decode(tokenizer.encode(caption)) for caption in CAPTIONS) == READABLE


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(TEXTS)
def test_any_text_makes_the_round_trip(kind: Literal["words", "subwords"], texts: list[str]) -> None:
    if not any(caption_words(text) for text in texts):
        with pytest.raises(InvalidInput, match="occurs 1 times"):
            learn_vocabulary(texts, kind=kind, min_count=1)
        return
    tokenizer = lossless(texts, kind)
    for text in texts:
        ids = tokenizer.encode(text)
        sentence = tokenizer.decode(ids)
        assert sentence == readable(word_pieces(text))
        np.testing.assert_array_equal(tokenizer.encode(sentence), ids)
        assert caption_words(sentence) == caption_words(text)  # which is what scores are computed of


def test_a_word_a_token() -> None:
    vocabulary = learn_vocabulary(["the dog", "the man's dog!", "the 狗"], min_count=2)
    assert vocabulary.tokens == (*SPECIAL, f"{SPACE}the", f"{SPACE}dog")
    assert vocabulary.length == 6  # the longest has four words
    encoded = Tokenizer(vocabulary).encode("The dog's cat")
    assert encoded.dtype == np.int32
    assert encoded.tolist() == [START, 4, 5, UNKNOWN, UNKNOWN, END]
    assert decode(encoded, vocabulary) == "the dog"


def test_a_caption_that_is_too_long_has_no_end() -> None:
    tokenizer = Tokenizer(learn_vocabulary(["a b c d e f"], min_count=1, length=4))
    assert tokenizer.encode("a b").tolist()[-1] == END
    assert END not in tokenizer.encode("a b c")
    assert tokenizer.decode(tokenizer.encode("a b c d")) == "a b c"
    assert tokenizer.encode("").tolist() == [START, END, PAD, PAD]


def test_one_caption_in_two_hundred_may_be_cut() -> None:
    captions = ["a dog"] * 400 + ["a dog " * 20] * 2
    assert learn_vocabulary(captions).length == 4
    assert learn_vocabulary([*captions, "a dog " * 20]).length == 42


def test_subwords_write_words_they_have_not_seen() -> None:
    vocabulary = learn_vocabulary(["surf board", "surfing", "boarding"] * 5, kind="subwords", size=60)
    tokenizer = Tokenizer(vocabulary)
    assert tokenizer.decode(tokenizer.ids("surfboard")) == "surfboard"
    assert len(tokenizer.ids("surfboard")) < len("surfboard")
    assert UNKNOWN in tokenizer.ids("zebra")


def test_subwords_find_chinese_words() -> None:
    vocabulary = learn_vocabulary(["一只狗在草地上", "草地上有猫", "狗在草地"] * 2, kind="subwords", min_count=4)
    assert "草地" in vocabulary.tokens
    assert units("a 草地, 狗's dog") == [f"{SPACE}a", "草地狗", "'s", f"{SPACE}dog"]


def test_order_and_ties_do_not_depend_on_the_order_of_captions() -> None:
    captions = ["b a", "c a", "c b d"]
    for kind in KINDS:
        one = learn_vocabulary(captions, kind=kind, min_count=1)
        assert one == learn_vocabulary(reversed(captions), kind=kind, min_count=1)
    assert learn_vocabulary(captions, min_count=1).tokens[4:] == tuple(SPACE + word for word in "abcd")
    assert learn_vocabulary(captions, min_count=1, size=6).tokens[4:] == tuple(SPACE + word for word in "ab")


def test_sentences_of_scenes_are_known_word_by_word() -> None:
    scenes = Scenes(60, task="captioning", image_size=32)
    captions = [sentence for index in range(60) for sentence in scenes.scene(index).sentences]
    tokenizer = lossless(captions, "words")
    assert len(tokenizer.vocabulary) < 40
    for caption in captions:
        assert tokenizer.decode(tokenizer.encode(caption)) == caption.replace(",", "")


def test_a_sentence_can_be_read_by_the_rule_of_the_manifest_alone() -> None:
    """As `Vocabulary` has it, in nothing but JSON."""
    for kind in KINDS:
        tokenizer = lossless(CAPTIONS, kind)
        tokens = tokenizer.vocabulary.model_dump(mode="json")["tokens"]
        for caption, wanted in zip(CAPTIONS, READABLE, strict=True):
            text = ""
            for number in tokenizer.encode(caption).tolist():
                if number == 2:
                    break
                if number >= 4:
                    text += tokens[number]
            assert text.replace("\u2581", " ").strip() == wanted


def test_invalid_ids_are_refused() -> None:
    vocabulary = Vocabulary(kind="words", tokens=(*SPECIAL, "a"), length=3)
    assert decode([START, 4, END, 99], vocabulary) == "a"
    for ids in ([5], [-1]):
        with pytest.raises(InvalidInput, match=f"no token {ids[0]}; the vocabulary has 5"):
            decode(ids, vocabulary)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "letters"}, "words or subwords"),
        ({"min_count": 0}, "at least 1, not 0"),
        ({"size": 4}, "no room"),
        ({"length": 2}, "from 3 to 1024 tokens, not 2"),
        ({"min_count": 9}, "none of the 1 captions has a word that occurs 9 times"),
    ],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        learn_vocabulary(["a dog"], **options)  # type: ignore[arg-type]
