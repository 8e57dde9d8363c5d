"""Defines the settings with which the sentences of a captioning network are searched."""

from __future__ import annotations

from typing import Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator

from cvserve.artifact.base import Spec

_OWN = {
    "beam": ("beam_width", "length_penalty"),
    "sampling": ("temperature", "top_k", "seed"),
}

Number = TypeVar("Number", float, np.ndarray)


class Decoding(Spec):
    """Holds the settings of the search that decides which sentences a captioning network returns.

    The probability of a sentence is the product of those of its tokens, <end> included, among all tokens of the
    vocabulary. <pad>, <start> and <unk> are never chosen. A sentence without <end> was cut off at the longest length.

    method:
        "greedy"    the likeliest token, one after the other.
        "beam"      the `beam_width` best beginnings are followed; those that have ended keep their place among them as
                    long as they are good enough. They are ranked by log P / lp(n), n being their tokens with <end>:
                    lp(n) = ((5 + n) / 6) ** length_penalty (Wu et al. 2016, arXiv 1609.08144, equation 14). 0 ranks by
                    probability, which favours short sentences; published systems use 0.6 to 1.
        "sampling"  each token at random, by the network's probabilities after its logits were divided by `temperature`
                    and all but the `top_k` best left out. The random numbers depend on `seed`, to the sentence's place
                    among `sentences` and to the token's place in it, not to the call: an image always gets the same
                    sentences, in every format and whatever is beside it in the batch.

    no_repeat_ngram: no n tokens in a row occur twice in a sentence, n being this number; 0 allows it.
    sentences: how many an image. A graph has them best first, of sampling in the order drawn; results are best first.
    """

    method: Literal["greedy", "beam", "sampling"] = "greedy"
    beam_width: int = Field(default=1, ge=1, le=256)
    length_penalty: float = Field(default=0.0, ge=0, le=5)
    no_repeat_ngram: int = Field(default=0, ge=0)
    temperature: float = Field(default=1.0, gt=0, le=100)
    top_k: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**63)
    sentences: int = Field(default=1, ge=1, le=256)

    @model_validator(mode="after")
    def _check(self) -> Decoding:
        fields = type(self).model_fields
        for method, names in _OWN.items():
            for name in names:
                if method != self.method and getattr(self, name) != fields[name].default:
                    raise ValueError(f"{name} is a setting of {method}, not of {self.method}")
        most = {"greedy": 1, "beam": self.beam_width, "sampling": self.sentences}[self.method]
        if self.sentences > most:
            raise ValueError(f"{self.method} gives at most {most} sentences here, not {self.sentences}")
        return self

    def describe(self) -> str:
        """Returns the settings as text, such as "beam, beam_width 4, length_penalty 0.6"."""
        fields = type(self).model_fields
        changed = [name for name in fields if name != "method" and getattr(self, name) != fields[name].default]
        return ", ".join([self.method, *(f"{name} {getattr(self, name):g}" for name in changed)])


def length_penalty(tokens: Number, alpha: float) -> Number:
    """Returns lp(n) of `Decoding`. tokens: n, <end> included."""
    return ((5.0 + tokens) / 6.0) ** alpha  # type: ignore[return-value]
