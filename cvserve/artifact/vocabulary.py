"""Defines the vocabulary of a captioning model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cvserve.artifact.base import Spec

SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
PAD, START, END, UNKNOWN = range(len(SPECIAL))

SPACE = "\u2581"
"""Stands for a space in tokens, as in SentencePiece (U+2581, lower one eighth block)."""


class Vocabulary(Spec):
    """Holds what each token id stands for.

    To read a sentence: go through its ids up to the first 2 (<end>), leave out those under 4, put the tokens of the
    others one after the other without anything between them, and write a space for each U+2581. That is all; `kind`
    matters only for turning sentences into ids.

    kind:
        "words"     a token is a word, "\u2581dog", or what is written without a space before it: the end of a
                    contraction ("n't", "'s"), or a single character of Chinese or Japanese.
        "subwords"  words are made of several tokens. Starting from its characters, those two neighbours become one
                    whose whole is the first in `tokens`, until no two make a token: byte-pair encoding (Sennrich et
                    al. 2016, arXiv 1508.07909), on characters.

    tokens: by id; the first four are `SPECIAL`. length: T, ids of a sentence with <start>, and <end> where it fits.
    """

    kind: Literal["words", "subwords"]
    tokens: tuple[str, ...] = Field(min_length=len(SPECIAL) + 1)
    length: int = Field(ge=3, le=1024)

    @model_validator(mode="after")
    def _check(self) -> Vocabulary:
        if self.tokens[: len(SPECIAL)] != SPECIAL:
            raise ValueError(f"a vocabulary begins with {', '.join(SPECIAL)}, not {', '.join(self.tokens[:4])}")
        if len(set(self.tokens)) != len(self.tokens):
            twice = next(token for number, token in enumerate(self.tokens) if token in self.tokens[:number])
            raise ValueError(f"the token {twice!r} is there twice")
        if "" in self.tokens:
            raise ValueError(f"token {self.tokens.index('')} is empty")
        return self

    def __len__(self) -> int:
        """Returns the number of tokens."""
        return len(self.tokens)
