"""Searches sentences outside of the graph, with a function of one step, exactly as the graphs do it inside.

`cvserve.models.captioning.search` has it in TensorFlow; see `Decoding` for what is searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cvserve.artifact import Decoding
from cvserve.artifact.decoding import length_penalty
from cvserve.artifact.vocabulary import END, PAD, START, UNKNOWN
from cvserve.postproc.activations import log_softmax

Arrays = Mapping[str, np.ndarray]

NEVER = np.float32(-1e9)
"""Log probability of a token that is not allowed."""

_LARGEST_DRAW = np.float32(1 - 1e-6)


@dataclass(frozen=True)
class StepOutputs:
    """Holds the outputs of one step.

    logits: float32 [R, V]. state: by name, [R, ...]. attention: float32 [R, L] or None.
    """

    logits: np.ndarray
    state: Arrays
    attention: np.ndarray | None = None


class StepFunction(Protocol):
    """Computes one step of R sentences at a time."""

    def __call__(self, tokens: np.ndarray, position: int, memory: Arrays, state: Arrays) -> StepOutputs:
        """Computes one step.

        tokens: int32 [R]; position: 0 for <start>; memory: of the images, [R, ...]; state: of the step before.
        """


@dataclass(frozen=True)
class Sentences:
    """Holds K sentences of up to N tokens for each of B images.

    token_ids: int32 [B, K, N], without <start>, with <end> where it fits, then 0. log_probability: float32 [B, K].
    attention: float32 [B, K, N, L], or None. steps: how many were made.
    """

    token_ids: np.ndarray
    log_probability: np.ndarray
    attention: np.ndarray | None
    steps: int


def draws(decoding: Decoding, count: int) -> np.ndarray:
    """Returns the uniform random numbers of sampling, from 0 to less than 1: float32 [sentences, count]."""
    generator = np.random.default_rng(decoding.seed)
    return np.minimum(generator.random((decoding.sentences, count), np.float32), _LARGEST_DRAW)


def search(step: StepFunction, memory: Arrays, state: Arrays, decoding: Decoding, count: int) -> Sentences:
    """Searches the sentences of images.

    Args:
        memory, state: of each image, [B, ...] by name; the state is that before <start>.
        count: N, tokens of a sentence at most, <end> included.
    """
    batch = len(next(iter({**memory, **state}.values())))
    beams = decoding.method == "beam"
    width = decoding.beam_width if beams else decoding.sentences
    rows = (_Beams if beams else _IndependentRows)(batch, width, count, decoding)
    memory = {name: np.repeat(value, width, axis=0) for name, value in memory.items()}
    state = {name: np.repeat(value, width, axis=0) for name, value in state.items()}
    position = 0
    while position < count and not rows.settled():
        outputs = step(rows.last, position, memory, state)
        origins = rows.take(outputs, position)
        state = outputs.state if origins is None else {name: value[origins] for name, value in outputs.state.items()}
        position += 1
    return rows.sentences(position)


class _IndependentRows:
    """Searches greedily or by sampling: the rows do not depend on each other."""

    def __init__(self, batch: int, width: int, count: int, decoding: Decoding) -> None:
        self._decoding = decoding
        self._width = width
        self._draws = draws(decoding, count) if decoding.method == "sampling" else None
        rows = batch * width
        self.last = np.full(rows, START, np.int32)
        self._token_ids = np.full((rows, count), PAD, np.int32)
        self._ended = np.zeros(rows, bool)
        self._score = np.zeros(rows, np.float32)
        self._attention: np.ndarray | None = None

    def settled(self) -> bool:
        return bool(self._ended.all())

    def take(self, stepped: StepOutputs, position: int) -> np.ndarray | None:
        """Appends one token to each row."""
        scores = log_probabilities(stepped.logits, self._token_ids, position, self._decoding.no_repeat_ngram)
        if self._draws is None:
            chosen = scores.argmax(axis=1)
        else:
            chosen = self._drawn(scores, stepped.logits, self._draws[:, position])
        tokens = np.where(self._ended, PAD, chosen).astype(np.int32)
        self._score += np.where(self._ended, 0, scores[np.arange(len(scores)), chosen])
        self._token_ids[:, position] = tokens
        if stepped.attention is not None:
            self._attention = _noted(self._attention, self._token_ids, position, stepped.attention, self._ended)
        self._ended = self._ended | (tokens == END)
        self.last = tokens
        return None

    def sentences(self, steps: int) -> Sentences:
        return _sentences(self._token_ids, self._score, self._attention, self._width, self._width, steps)

    def _drawn(self, scores: np.ndarray, logits: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        top_k = self._decoding.top_k
        values = np.where(scores > NEVER / 2, logits / np.float32(self._decoding.temperature), NEVER)
        if 0 < top_k < values.shape[1]:
            least = np.partition(values, -top_k, axis=1)[:, -top_k, None]
            values = np.where(values >= least, values, NEVER)
        sums = np.cumsum(np.exp(log_softmax(values)), axis=1, dtype=np.float32)
        levels = np.tile(numbers, len(values) // self._width)[:, None] * sums[:, -1:]
        return np.asarray((sums <= levels).sum(axis=1))


class _Beams:
    """Searches with a beam: follows `width` beginnings an image, best first."""

    def __init__(self, batch: int, width: int, count: int, decoding: Decoding) -> None:
        self._decoding = decoding
        self._width = width
        self._penalties = length_penalty(np.arange(1, count + 1, dtype=np.float64), decoding.length_penalty).astype(
            np.float32
        )
        self.last = np.full(batch * width, START, np.int32)
        self._token_ids = np.full((batch * width, count), PAD, np.int32)
        self._ended = np.zeros((batch, width), bool)
        self._score = np.tile(np.where(np.arange(width) == 0, 0, NEVER).astype(np.float32), (batch, 1))
        self._rank = self._score
        self._attention: np.ndarray | None = None

    def settled(self) -> bool:
        wanted = self._decoding.sentences
        reachable = np.where(self._ended, 2 * NEVER, self._score / self._penalties[-1]).max(axis=1)
        return bool((self._ended[:, :wanted].all(axis=1) & (self._rank[:, wanted - 1] >= reachable)).all())

    def take(self, stepped: StepOutputs, position: int) -> np.ndarray:
        """Keeps the best beginnings and returns the rows that they come from."""
        scores = log_probabilities(stepped.logits, self._token_ids, position, self._decoding.no_repeat_ngram)
        batch, width = self._score.shape
        choices = min(width, scores.shape[1])
        tokens = best(scores, choices)
        values = np.take_along_axis(scores, tokens, axis=1).reshape(batch, width, choices)
        ended = self._ended[:, :, None]
        only = np.where(np.arange(choices) == 0, 0, NEVER).astype(np.float32)
        totals = self._score[:, :, None] + np.where(ended, only, values)
        ranks = np.where(ended, self._rank[:, :, None] + only, totals / self._penalties[position])
        tokens = np.where(ended, PAD, tokens.reshape(batch, width, choices)).reshape(batch, -1)
        ranks = ranks.reshape(batch, -1)
        picked = best(ranks, width)
        beams = picked // choices
        rows = (np.arange(batch)[:, None] * width + beams).reshape(-1)
        last = np.take_along_axis(tokens, picked, axis=1).astype(np.int32)
        had_ended = np.take_along_axis(self._ended, beams, axis=1)
        self._token_ids = self._token_ids[rows]
        self._token_ids[:, position] = last.reshape(-1)
        if stepped.attention is not None:
            before = None if self._attention is None else self._attention[rows]
            seen = stepped.attention[rows]
            self._attention = _noted(before, self._token_ids, position, seen, had_ended.reshape(-1))
        self._ended = had_ended | (last == END)
        self._score = np.take_along_axis(totals.reshape(batch, -1), picked, axis=1)
        self._rank = np.take_along_axis(ranks, picked, axis=1)
        self.last = last.reshape(-1)
        return rows

    def sentences(self, steps: int) -> Sentences:
        score = self._score.reshape(-1)
        return _sentences(self._token_ids, score, self._attention, self._width, self._decoding.sentences, steps)


def log_probabilities(logits: np.ndarray, token_ids: np.ndarray, position: int, ngram: int) -> np.ndarray:
    """Returns float32 [R, V]: the log probability of each allowed next token, and NEVER for every other token.

    Args:
        logits: float32 [R, V]. token_ids: int32 [R, N], the tokens before `position`.
        ngram: see `Decoding.no_repeat_ngram`.
    """
    values = log_softmax(logits)
    values[:, [PAD, START, UNKNOWN]] = NEVER
    if 0 < ngram <= position:
        last = token_ids[:, position - ngram + 1 : position]
        for start in range(position - ngram + 1):
            same = (token_ids[:, start : start + ngram - 1] == last).all(axis=1)
            values[same, token_ids[same, start + ngram - 1]] = NEVER
    return values


def best(values: np.ndarray, count: int) -> np.ndarray:
    """Returns int [R, count]: the places of the largest of values [R, V], largest first, equal ones in order."""
    if count < values.shape[1]:
        places = np.sort(np.argpartition(-values, count - 1, axis=1)[:, :count], axis=1)
    else:
        places = np.tile(np.arange(values.shape[1]), (len(values), 1))
    order = np.argsort(-np.take_along_axis(values, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)


def _noted(
    attention: np.ndarray | None, token_ids: np.ndarray, position: int, seen: np.ndarray, ended: np.ndarray
) -> np.ndarray:
    if attention is None:
        attention = np.zeros((*token_ids.shape, seen.shape[1]), np.float32)
    attention[:, position] = np.where(ended[:, None], 0, seen)
    return attention


def _sentences(
    token_ids: np.ndarray, score: np.ndarray, attention: np.ndarray | None, width: int, wanted: int, steps: int
) -> Sentences:
    def by_image(values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, width, *values.shape[1:])[:, :wanted]

    return Sentences(by_image(token_ids), by_image(score), None if attention is None else by_image(attention), steps)
