"""Turns captions into token ids, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from cvserve.artifact.vocabulary import END, PAD, SPECIAL, START, UNKNOWN, Vocabulary
from cvserve.errors import InvalidInput
from cvserve.text.merging import merged
from cvserve.text.pieces import readable, units, word_pieces


def decode(ids: Sequence[int] | np.ndarray, vocabulary: Vocabulary) -> str:
    """Returns the sentence that token ids [T] stand for, up to the first <end>, without special tokens.

    Raises:
        InvalidInput: an id that is none of the vocabulary's.
    """
    tokens = []
    for number in np.asarray(ids).reshape(-1).tolist():
        if not 0 <= number < len(vocabulary):
            raise InvalidInput(f"there is no token {number}; the vocabulary has {len(vocabulary)}")
        if number == END:
            break
        if number >= len(SPECIAL):
            tokens.append(vocabulary.tokens[int(number)])
    return readable(tokens)


class Tokenizer:
    """Turns captions into token ids by a vocabulary. Its use changes nothing but its cache of words.

    Example:
        tokenizer = Tokenizer(learn_vocabulary(captions))
        tokenizer.encode("A dog on the grass.")  # int32 [T]: 1, 4, 9, 6, 5, 31, 2, 0, 0, ...
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._ids = {token: number for number, token in enumerate(vocabulary.tokens) if number >= len(SPECIAL)}
        self._known: dict[str, list[int]] = {}

    @property
    def length(self) -> int:
        """Returns T, the number of ids of an encoded caption."""
        return self.vocabulary.length

    def ids(self, text: str) -> list[int]:
        """Returns the ids of a caption's words, however many there are; <unk> for words that the vocabulary lacks."""
        if self.vocabulary.kind == "words":
            return [self._ids.get(piece, UNKNOWN) for piece in word_pieces(text)]
        return [number for unit in units(text) for number in self._unit(unit)]

    def encode(self, text: str) -> np.ndarray:
        """Returns int32 [T]: <start>, the caption, <end>, and <pad> to the end.

        Of a caption that is too long the rest is cut off, and there is no <end>: none is to be learned there.
        """
        encoded = np.full(self.length, PAD, np.int32)
        numbers = [START, *self.ids(text), END][: self.length]
        encoded[: len(numbers)] = numbers
        return encoded

    def encode_all(self, texts: Iterable[str]) -> np.ndarray:
        """Returns the ids of N captions, int32 [N, T]."""
        return np.array([self.encode(text) for text in texts], np.int32).reshape(-1, self.length)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Returns the sentence of token ids; see `decode`."""
        return decode(ids, self.vocabulary)

    def _unit(self, unit: str) -> list[int]:
        numbers = self._known.get(unit)
        if numbers is None:
            numbers = [self._ids.get(part, UNKNOWN) for part in merged(list(unit), self._ids)]
            self._known[unit] = numbers
        return numbers
