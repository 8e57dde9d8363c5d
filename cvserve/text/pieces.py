"""Turns captions into words as a vocabulary has them: with the space before them, or without."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cvserve.artifact.vocabulary import SPACE
from cvserve.text.ptb import BRACKETS, CLITICS, UNSPACED, caption_words

_UNSPACED = re.compile(f"[{UNSPACED}]")
_LEFT_OUT = frozenset(BRACKETS.values())
_MARKS = frozenset("?!")


def word_pieces(text: str) -> list[str]:
    """Returns a caption's words: those of `caption_words`, without the names of brackets and rows of question marks.

    What is read with a space before it begins with U+2581; the ends of contractions and characters of scripts without
    spaces do not.

    Example:
        word_pieces("The man's 狗!")  # ["\u2581the", "\u2581man", "'s", "狗"]
    """
    words = (word for word in caption_words(text) if word not in _LEFT_OUT and not _MARKS.issuperset(word))
    return [word if word in CLITICS or _UNSPACED.match(word) else SPACE + word for word in words]


def units(text: str) -> list[str]:
    """Returns the pieces of a caption within which byte-pair encoding merges characters.

    They are those of `word_pieces`, except that neighbours of scripts without spaces are one, so that Chinese words of
    several characters can become tokens.
    """
    joined: list[str] = []
    for piece in word_pieces(text):
        if joined and _UNSPACED.match(piece) and _UNSPACED.match(joined[-1]):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def readable(tokens: Iterable[str]) -> str:
    """Returns the sentence that tokens make."""
    return " ".join("".join(tokens).replace(SPACE, " ").split())
