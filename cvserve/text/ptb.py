"""Splits a caption into the words that COCO's evaluation counts.

That evaluation runs Stanford's PTBTokenizer (Java, CoreNLP 3.4.1, -preserveLines -lowerCase) and throws punctuation
away. These are its rules in one regular expression, as far as captions meet them: on the 25,422 different captions of
COCO's val2017 and `captions.json` of the shared data the words are the same in all; docs/captioning.md says where the
two differ on purpose.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator

# Of COCO's evaluation (pycocoevalcap/tokenizer/ptbtokenizer.py), which compares them after lower-casing: the names of
# brackets, upper-case there, therefore stay as words.
PUNCTUATION = frozenset({"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"})
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}

# Scripts that put no spaces between words, of which each character is taken for a word: Han, Hiragana, Katakana.
UNSPACED = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)

CLITICS = frozenset({"n't", "'s", "'m", "'d", "'ll", "'re", "'ve"})

# With a capital alone, Stanford's list also has states and months that are words ("Wash.", "Miss.", "Mar."): left out.
_ABBREVIATIONS = (
    "st|ave|blvd|rd|mt|ft|mr|mrs|ms|dr|prof|gen|sen|rep|rev|gov|col|capt|lt|sgt|jr|sr|inc|co|corp|ltd|bros|vs|etc|ph\\.d|"
    "jan|feb|aug|sept|oct|nov|dec|ariz|calif|colo|conn|fla|kan|ky|mich|minn|mont|neb|nev|okla|penn|tenn|tex|wis|wyo"
)
_SPLIT = {
    "cannot": ("can", "not"),
    "gonna": ("gon", "na"),
    "wanna": ("wan", "na"),
    "gotta": ("got", "ta"),
    "lemme": ("lem", "me"),
    "gimme": ("gim", "me"),
    "&amp;": ("&",),
    '"': (),
}
_QUOTES = str.maketrans({"’": "'", "‘": "'", "‛": "'", "“": '"', "”": '"', "«": '"', "»": '"'})


def normalized(text: str) -> str:
    """Returns the text in lower case and in NFC: a letter with marks is one character where Unicode has one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def caption_words(text: str) -> list[str]:
    """Returns the words of a caption, lower-case and without punctuation, as BLEU, ROUGE-L and CIDEr-D are computed of.

    Example:
        caption_words("A man's (red) hat isn't here.")
        # ["a", "man", "'s", "-lrb-", "red", "-rrb-", "hat", "is", "n't", "here"]
    """
    text = normalized(text).translate(_QUOTES)
    return [word for word in _tokens(text, _pattern(text.isascii())) if word not in PUNCTUATION]


def _tokens(text: str, pattern: re.Pattern[str]) -> Iterator[str]:
    for match in pattern.finditer(text):
        token = match.group()
        if token in BRACKETS:
            yield BRACKETS[token]
        else:
            yield from _SPLIT.get(token, (token,))


@functools.lru_cache(maxsize=2)
def _pattern(ascii_only: bool) -> re.Pattern[str]:
    """Returns the expression of a token: the first alternative that fits. All else (spaces, emoji, ...) is left out.

    Args:
        ascii_only: whether the text is, which is 30 times faster.
    """
    letter = "[a-z0-9]" if ascii_only else f"(?:(?![{UNSPACED}_])[\\w{_marks()}])"
    word, end = f"{letter}+", f"(?!{letter})"
    begin = f"(?<!{letter})"
    abbreviated = "|".join(sorted(_ABBREVIATIONS.split("|"), key=len, reverse=True))
    alternatives = (
        f"{word}(?=,?(?:\\s|$))",  # Most tokens are plain words, for which the alternatives below need not be tried.
        f"[{UNSPACED}][{_marks()}]*",
        r"https?://\S+|[\w.+-]+@[\w-]+\.[\w.]*\w",
        "&amp;",
        f"'(?:t(?=\\s?(?:is|was){end})|em{end}|cause{end}|till?{end}|n'|n{end}|[2-9]0s{end})",
        f"'(?:s|m|d|ll|re|ve){end}",
        f"{begin}n't{end}",
        f"{begin}y'(?=\\s?all{end})",
        f"{letter}+?(?=n't{end})",
        f"n't{end}",
        f"{begin}(?:no|nos|fig|p|pp)\\.(?=\\s?\\d)",
        f"{begin}(?:{abbreviated})\\.{end}",
        f"{begin}[a-z](?:\\.[a-z])+\\.?{end}",
        f"(?:{begin}|[-+])\\d+(?:[.,:/]\\d+)+",
        f"{begin}\\.\\d+{end}",
        f"{word}(?:[.?!]{word})+",
        f"{begin}[a-z]\\.{end}",
        f"{begin}(?:[a-hj-xz]'(?!(?:s|m|d|ll|re|ve){end})|{letter}*[aeiouy]'(?=[aeiou])){letter}+|{begin}ol'",
        f"{word}(?:/{word})+",
        f"{word}(?:[-_](?!o'clock){word})*(?:-o'clock)?",
        f"[#@](?!\\d){word}|[-+]\\d+{end}",
        r"[?!]{2,}|\*+",
        r"[!-/:-@\[-`{-~°©®™§]",
    )
    return re.compile("|".join(f"(?:{item})" for item in alternatives))


@functools.lru_cache(maxsize=1)
def _marks() -> str:
    """Returns a character class's content: the combining marks (vowel signs, accents, ...) that \\w of `re` lacks."""
    marks = [code for code in range(0x300, 0x1F000) if unicodedata.category(chr(code))[0] == "M"] + [0x200C, 0x200D]
    parts, start = [], marks[0]
    for code, following in zip(marks, [*marks[1:], 0], strict=True):
        if following != code + 1:
            parts.append(f"{chr(start)}-{chr(code)}")
            start = following
    return "".join(parts)
