"""Learns a vocabulary from the captions of a training set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from cvserve.artifact.vocabulary import SPECIAL, Vocabulary
from cvserve.errors import InvalidInput
from cvserve.text.merging import learn_merges, merged
from cvserve.text.pieces import units, word_pieces

MIN_COUNT = 5
"""Words that occur less often are <unk>: as in Show and Tell (Vinyals et al. 2015, arXiv 1411.4555, section 4.3.1)."""

# The share of captions that fit completely into the length, where no length is given.
_WHOLE = 0.995


def learn_vocabulary(
    captions: Iterable[str],
    *,
    kind: Literal["words", "subwords"] = "words",
    min_count: int = MIN_COUNT,
    size: int = 10_000,
    length: int | None = None,
) -> Vocabulary:
    """Learns the tokens of captions; the same captions in any order give the same tokens in the same order.

    Args:
        kind: "words": one token a word, the most frequent first. "subwords": every character of the captions, then
            what `cvserve.text.merging` makes of them; nothing is unknown unless `size` cuts off rare characters.
        min_count: of a word, or of a token of several characters; at least 1.
        size: tokens at most, the four special ones included.
        length: ids a sentence, <start> and <end> included; None: room for 99.5 % of the captions.

    Raises:
        InvalidInput: no word that is frequent enough, or an option out of range.
    """
    if kind not in ("words", "subwords"):
        raise InvalidInput(f"a vocabulary is of words or subwords, not of {kind!r}")
    if min_count < 1:
        raise InvalidInput(f"min_count must be at least 1, not {min_count}")
    if size <= len(SPECIAL):
        raise InvalidInput(f"a vocabulary of {size} tokens has no room beside the {len(SPECIAL)} special ones")
    if length is not None and not 3 <= length <= 1024:
        raise InvalidInput(f"the length of captions must be from 3 to 1024 tokens, not {length}")
    split = word_pieces if kind == "words" else units
    sentences = [split(caption) for caption in captions]
    counts = Counter(piece for sentence in sentences for piece in sentence)
    room = size - len(SPECIAL)
    if kind == "words":
        tokens = _most_frequent(counts, min_count)[:room]
        tokens_of = dict.fromkeys(counts, 1)
    else:
        characters: Counter[str] = Counter()
        for unit, times in counts.items():
            for character in unit:
                characters[character] += times
        alphabet = _most_frequent(characters, 1)[:room]
        tokens = alphabet + learn_merges(counts, room - len(alphabet), min_count)
        ranks = {token: rank for rank, token in enumerate(tokens)}
        tokens_of = {unit: len(merged(list(unit), ranks)) for unit in counts}
    if not tokens:
        raise InvalidInput(f"none of the {len(sentences)} captions has a word that occurs {min_count} times")
    lengths = sorted(sum(tokens_of[piece] for piece in sentence) for sentence in sentences)
    fitting = lengths[math.ceil(_WHOLE * len(lengths)) - 1] + 2
    return Vocabulary(kind=kind, tokens=(*SPECIAL, *tokens), length=length or max(3, min(fitting, 1024)))


def _most_frequent(counts: Counter[str], min_count: int) -> list[str]:
    """Returns the most frequent first, equally frequent ones in Unicode's order."""
    frequent = (item for item in counts.items() if item[1] >= min_count)
    return [name for name, _ in sorted(frequent, key=lambda item: (-item[1], item[0]))]
