"""Implements beam search: the best beginnings of a sentence are continued together."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cvserve.artifact import Decoding
from cvserve.artifact.decoding import length_penalty
from cvserve.artifact.vocabulary import END, PAD, START
from cvserve.models.captioning.decoder import CaptionDecoder
from cvserve.models.captioning.search.allowed import log_probabilities
from cvserve.models.captioning.search.sentences import NEVER, Sentences, repeat_rows, with_shape_of, write_at


def beam_search(decoder: CaptionDecoder, features: tf.Tensor, decoding: Decoding) -> Sentences:
    """Searches with a beam, see `Decoding`.

    The loop ends when no beginning of any image can overtake its sentences any more.

    `score` [B, W] is the log probability of a beginning, `rank` the same over its penalty; both are best first.
    """
    count, width, wanted = decoder.length - 1, decoding.beam_width, decoding.sentences
    penalties = length_penalty(np.arange(1, count + 1, dtype=np.float64), decoding.length_penalty).astype(np.float32)
    choices = min(width, decoder.num_tokens)
    memory = {name: repeat_rows(value, width) for name, value in decoder.memory(features).items()}
    batch = tf.shape(features)[0]
    # All beginnings of an image are the same at first, so only one of them may be continued.
    first = tf.where(tf.equal(tf.range(width), 0), 0.0, NEVER)
    start = tf.zeros((batch, width), tf.float32) + first
    carried = {
        "state": decoder.initial_state(memory),
        "token_ids": tf.zeros((batch * width, count), tf.int32),
        "last": tf.fill((batch * width,), START),
        "ended": tf.zeros((batch, width), tf.bool),
        "score": start,
        "rank": start,
    }
    if decoder.attends:
        carried["attention"] = tf.zeros((batch * width, count, features.shape[1]), tf.float32)

    def condition(position: tf.Tensor, current: dict[str, tf.Tensor]) -> tf.Tensor:
        # Scores fall and penalties rise: no open beginning can come to a better rank than this.
        reachable = tf.reduce_max(tf.where(current["ended"], 2 * NEVER, current["score"] / penalties[-1]), axis=1)
        settled = tf.logical_and(
            tf.reduce_all(current["ended"][:, :wanted], axis=1), current["rank"][:, wanted - 1] >= reachable
        )
        return tf.logical_and(position < count, tf.logical_not(tf.reduce_all(settled)))

    def body(position: tf.Tensor, current: dict[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        step = decoder.step(current["last"], position, memory, current["state"])
        scores = log_probabilities(step.logits, current["token_ids"], position, decoding.no_repeat_ngram)
        # The best of each beginning are enough: no more of them can be among the best of all.
        values, tokens = tf.math.top_k(scores, choices)
        ended = tf.expand_dims(current["ended"], -1)
        only = tf.where(tf.equal(tf.range(choices), 0), 0.0, NEVER)  # what has ended stays as it is, once
        totals = tf.expand_dims(current["score"], -1) + tf.where(ended, only, _by_image(values, width))
        ranks = tf.where(ended, tf.expand_dims(current["rank"], -1) + only, totals / tf.gather(penalties, position))
        tokens = tf.where(ended, PAD, _by_image(tokens, width))
        rank, picked = tf.math.top_k(tf.reshape(ranks, (-1, width * choices)), width)
        beams = picked // choices
        rows = tf.reshape(tf.expand_dims(tf.range(batch) * width, -1) + beams, (-1,))
        last = tf.gather(tf.reshape(tokens, (-1, width * choices)), picked, axis=1, batch_dims=1)
        had_ended = tf.gather(current["ended"], beams, axis=1, batch_dims=1)
        flat = tf.reshape(last, (-1,))
        updated = {
            "state": {
                name: with_shape_of(tf.gather(step.state[name], rows), value)
                for name, value in current["state"].items()
            },
            "token_ids": write_at(tf.gather(current["token_ids"], rows), position, flat),
            "last": flat,
            "ended": tf.logical_or(had_ended, tf.equal(last, END)),
            "score": tf.gather(tf.reshape(totals, (-1, width * choices)), picked, axis=1, batch_dims=1),
            "rank": rank,
        }
        if step.attention is not None:
            seen = tf.where(tf.reshape(had_ended, (-1, 1)), 0.0, tf.gather(step.attention, rows))
            updated["attention"] = write_at(tf.gather(current["attention"], rows), position, seen)
        return position + 1, updated

    _, done = tf.while_loop(condition, body, (tf.constant(0), carried))
    attention = done.get("attention")
    if attention is not None:
        attention = tf.reshape(attention, (-1, width, count, features.shape[1]))[:, :wanted]
    token_ids = tf.reshape(done["token_ids"], (-1, width, count))[:, :wanted]
    return Sentences(token_ids, done["score"][:, :wanted], attention)


def _by_image(values: tf.Tensor, width: int) -> tf.Tensor:
    """Returns rows [B * W, K] as [B, W, K]."""
    return tf.reshape(values, (-1, width, values.shape[1]))
