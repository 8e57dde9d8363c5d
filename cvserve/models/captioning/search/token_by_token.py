"""Implements greedy search and sampling: one token after the other."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from cvserve.artifact import Decoding
from cvserve.artifact.vocabulary import END, PAD, START
from cvserve.models.captioning.decoder import CaptionDecoder
from cvserve.models.captioning.search.allowed import log_probabilities
from cvserve.models.captioning.search.sentences import NEVER, Sentences, repeat_rows, with_shape_of, write_at
from cvserve.postproc.captioning_search import draws

Choose = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""Chooses the next tokens, int32 [R], from log probabilities [R, V], logits [R, V] and the position."""


def greedy_search(decoder: CaptionDecoder, features: tf.Tensor, decoding: Decoding) -> Sentences:
    """Takes the likeliest token at each step, see `Decoding`."""

    def likeliest(scores: tf.Tensor, logits: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        return tf.argmax(scores, axis=-1, output_type=tf.int32)

    return _follow(decoder, features, decoding, likeliest)


def sampling_search(decoder: CaptionDecoder, features: tf.Tensor, decoding: Decoding) -> Sentences:
    """Draws each token at random, see `Decoding`."""
    numbers = draws(decoding, decoder.length - 1)  # [sentences, N]

    def by_chance(scores: tf.Tensor, logits: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        allowed = scores > NEVER / 2
        values = tf.where(allowed, logits / decoding.temperature, NEVER)
        if 0 < decoding.top_k < decoder.num_tokens:
            least = tf.math.top_k(values, decoding.top_k)[0][:, -1:]
            values = tf.where(values >= least, values, NEVER)
        sums = tf.cumsum(tf.nn.softmax(values, axis=-1), axis=-1)
        # The first token whose sum exceeds a uniform number: the inverse of the distribution function.
        drawn = tf.expand_dims(tf.gather(tf.constant(numbers), position, axis=1), 0)  # [1, sentences]
        levels = tf.expand_dims(drawn, -1) * tf.reshape(sums[:, -1], (-1, decoding.sentences, 1))
        below = tf.cast(sums <= tf.reshape(levels, (-1, 1)), tf.int32)
        return tf.reduce_sum(below, axis=-1)

    return _follow(decoder, features, decoding, by_chance)


def _follow(decoder: CaptionDecoder, features: tf.Tensor, decoding: Decoding, choose: Choose) -> Sentences:
    count, times = decoder.length - 1, decoding.sentences
    memory = {name: repeat_rows(value, times) for name, value in decoder.memory(features).items()}
    state = decoder.initial_state(memory)
    rows = tf.shape(features)[0] * times
    token_ids = tf.zeros((rows, count), tf.int32)
    carried = {
        "state": state,
        "token_ids": token_ids,
        "last": tf.fill((rows,), START),
        "ended": tf.zeros((rows,), tf.bool),
        "score": tf.zeros((rows,), tf.float32),
    }
    if decoder.attends:
        carried["attention"] = tf.zeros((rows, count, features.shape[1]), tf.float32)

    def condition(position: tf.Tensor, current: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.logical_and(position < count, tf.logical_not(tf.reduce_all(current["ended"])))

    def body(position: tf.Tensor, current: dict[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        step = decoder.step(current["last"], position, memory, current["state"])
        scores = log_probabilities(step.logits, current["token_ids"], position, decoding.no_repeat_ngram)
        ended = current["ended"]
        tokens = tf.where(ended, PAD, choose(scores, step.logits, position))
        score = tf.gather(scores, tokens, axis=1, batch_dims=1)
        updated = {
            "state": {name: with_shape_of(step.state[name], value) for name, value in current["state"].items()},
            "token_ids": write_at(current["token_ids"], position, tokens),
            "last": tokens,
            "ended": tf.logical_or(ended, tf.equal(tokens, END)),
            "score": current["score"] + tf.where(ended, 0.0, score),
        }
        if step.attention is not None:
            seen = tf.where(tf.expand_dims(ended, -1), 0.0, step.attention)
            updated["attention"] = write_at(current["attention"], position, seen)
        return position + 1, updated

    _, done = tf.while_loop(condition, body, (tf.constant(0), carried))
    attention = done.get("attention")
    if attention is not None:
        attention = tf.reshape(attention, (-1, times, count, features.shape[1]))
    return Sentences(
        tf.reshape(done["token_ids"], (-1, times, count)), tf.reshape(done["score"], (-1, times)), attention
    )
