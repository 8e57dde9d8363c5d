"""Words of captions: Stanford's own answers as the table and, where Java is there, its program as the oracle."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.text import caption_words
from cvserve.text.ptb import PUNCTUATION

# As PTBTokenizer of CoreNLP 3.4.1 answers with -lowerCase, less what COCO's evaluation takes for punctuation.
STANFORD = [
    ("A man's hat (red) isn't \"here\"; don't, can't,", "a man 's hat -lrb- red -rrb- is n't here do n't ca n't"),
    ("cannot won't gonna wanna gotta lemme gimme.", "can not wo n't gon na wan na got ta lem me gim me"),
    ("The colour grey theatre.", "the colour grey theatre"),
    ("Black-and-white dog -- it's 3:00 p.m. at 1,000 St.", "black-and-white dog it 's 3:00 p.m. at 1,000 st."),
    ("cats' toys & dogs and/or w/ $5 50% #1 @home", "cats toys & dogs and/or w / $ 5 50 % # 1 @home"),
    ("dr pepper 2nd 1st '90s 1990's o'clock rock'n'roll", "dr pepper 2nd 1st '90s 1990 's o'clock rock 'n' roll"),
    ("y'all I'm you're they've he'd she'll", "y' all i 'm you 're they 've he 'd she 'll"),
    ("T.V. tv's a.b.c D.C. 'single quoted' man’s “x” – — …", "t.v. tv 's a.b.c d.c. single quoted man 's x"),
    ("5-year-old 10:30am 12/25/2010 555-1234", "5-year-old 10:30 am 12/25/2010 555-1234"),
    ("g!h 1.5 .5 -5 +5 x-ray t-shirt", "g!h 1.5 .5 -5 +5 x-ray t-shirt"),
    ("one.. two.... three. . four ... wait!!! what??", "one two three four wait !!! what ??"),
    ("no. 23 no. no.23 fig. 3", "no. 23 no no. 23 fig. 3"),
    ("'tis d'oh ma'am goin' 'em 'cause '70s 70's", "'t is d'oh ma'am goin 'em 'cause '70s 70 's"),
    ("he'll'd couldn't've DON'T dogs'", "he 'll 'd could n't 've do n't dogs"),
    ("a--b a -- b a---b a- -a non-smoking-", "a b a b a b a a non-smoking"),
    ("man,woman man.Woman man;woman man?woman man)woman", "man woman man.woman man woman man?woman man -rrb- woman"),
    (
        "skating/skiing 24/7 schoolbus/boat/house pickup/drop-off",
        "skating/skiing 24/7 schoolbus/boat/house pickup/drop off",
    ),
    ("một người đàn ông café naïve", "một người đàn ông café naïve"),
    ("#hashtag @user a_b a+b a=b a*b **a** 5'10\"", "#hashtag @user a_b a + b a = b a * b ** a ** 5 10"),
    ("foo.org test.jpg http://a.com a@b.co merry-go-round's", "foo.org test.jpg http://a.com a@b.co merry-go-round 's"),
    ("8:00-9:00 three-o'clock hello!? what?!", "8:00 -9:00 three-o'clock hello !? what ?!"),
]


@pytest.mark.parametrize(("text", "words"), STANFORD)
def test_as_stanford_has_it(text: str, words: str) -> None:
    assert caption_words(text) == words.split()


def test_scripts_without_spaces_have_a_word_a_character() -> None:
    assert caption_words("一只狗在草地上跑。") == list("一只狗在草地上跑")
    assert caption_words("犬が 走る、2匹") == ["犬", "が", "走", "る", "2", "匹"]
    assert caption_words("한국어 문장") == ["한국어", "문장"]  # which has spaces


def test_letters_stay_whole_however_they_are_composed() -> None:
    composed, decomposed = "đường phố", "đu\u031bo\u031b\u0300ng phô\u0301"
    assert caption_words(decomposed) == caption_words(composed) == ["đường", "phố"]
    assert caption_words("हिन्दी में") == ["हिन्दी", "में"]  # vowel signs are no letters to Python's \w
    assert caption_words("می‌خواهم") == ["می‌خواهم"]  # a joiner inside of a word


def test_texts_without_words() -> None:
    assert caption_words("") == caption_words(" ... \n, \u3002 😀 — ") == []


@settings(deadline=None)
@given(st.text())
def test_any_text_has_words(text: str) -> None:
    words = caption_words(text)
    assert all(word and not any(char.isspace() for char in word) for word in words)
    assert not PUNCTUATION.intersection(words)


@settings(deadline=None)
@given(st.text(alphabet="abnot' 狗が\u0301é"))
def test_words_are_the_words_of_themselves(text: str) -> None:
    words = caption_words(text)
    assert caption_words(" ".join(words)) == words


# Told apart by what Stanford's program has read before or after, such as the next caption's first word, or by a space
# inside of a number that does not break.
DIFFER = 0.0005


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="Stanford's tokenizer needs Java")
def test_equals_stanfords_program_on_real_captions(shared: Path) -> None:
    found = importlib.util.find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        pytest.skip("pycocoevalcap, which brings Stanford's program, is not installed")
    folder = Path(found.submodule_search_locations[0]) / "tokenizer"
    content = json.loads((shared / "data" / "coco_captions" / "captions.json").read_bytes())
    texts = [item["caption"].replace("\n", " ") for item in content["annotations"]]
    command = ["java", "-cp", str(folder / "stanford-corenlp-3.4.1.jar"), "edu.stanford.nlp.process.PTBTokenizer"]
    done = subprocess.run(
        [*command, "-preserveLines", "-lowerCase"], input="\n".join(texts), capture_output=True, text=True, check=True
    )
    lines = done.stdout.split("\n")
    assert len(lines) >= len(texts)
    pairs = zip(texts, lines, strict=False)
    wrong = [text for text, line in pairs if caption_words(text) != [w for w in line.split() if w not in PUNCTUATION]]
    assert len(wrong) <= DIFFER * len(texts), wrong
