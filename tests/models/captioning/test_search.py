"""Search inside the graph: against brute force, against itself, and against the same outside of the graph."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import tensorflow as tf
from tiny_decoder import TinyDecoder, make_decoder, make_features

from cvserve.artifact import Decoding
from cvserve.artifact.decoding import length_penalty
from cvserve.models.captioning.search import Sentences, search
from cvserve.postproc import captioning_search

PAD, START, END = 0, 1, 2


def searcher(decoder: TinyDecoder, decoding: Decoding) -> Callable[[tf.Tensor], Sentences]:
    """Returns the search in a graph of open batch size, as it is exported."""
    graph = tf.function(
        lambda features: vars(search(decoder, features, decoding)), [tf.TensorSpec((None, 12, 4))], autograph=False
    )
    return lambda features: Sentences(**{name: value.numpy() for name, value in graph(features).items()})


def searched(decoder: TinyDecoder, features: tf.Tensor, decoding: Decoding) -> Sentences:
    return searcher(decoder, decoding)(features)


def sentences_of(num_tokens: int, count: int) -> list[tuple[int, ...]]:
    """Returns every possible sentence: with <end> as the last of up to `count` tokens, or cut off there."""
    words = range(4, num_tokens)
    ended = [(*tokens, END) for length in range(count) for tokens in product(words, repeat=length)]
    return ended + list(product(words, repeat=count))


def log_probabilities(decoder: TinyDecoder, features: tf.Tensor, sentences: list[tuple[int, ...]]) -> list[float]:
    """Computes them by teacher forcing: one sentence for each of features [B, L, C], or all for features [1, L, C]."""
    count = decoder.length - 1
    targets = np.array([padded(sentence, count) for sentence in sentences], np.int32)
    inputs = np.concatenate([np.full((len(targets), 1), START, np.int32), targets[:, :-1]], axis=1)
    if features.shape[0] == 1:
        features = tf.repeat(features, len(targets), axis=0)
    scores = tf.nn.log_softmax(decoder(features, tf.constant(inputs))).numpy()
    own = np.take_along_axis(scores, targets[..., None], axis=2)[..., 0]
    return np.where(targets == PAD, 0, own).sum(axis=1).tolist()


def padded(sentence: tuple[int, ...], count: int) -> list[int]:
    return [*sentence, *[PAD] * (count - len(sentence))]


@pytest.mark.parametrize("alpha", [0.0, 1.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_wide_beam_equals_brute_force(seed: int, alpha: float) -> None:
    """3 words, 4 tokens: 121 sentences; a beam as wide loses none."""
    decoder, features = make_decoder(num_tokens=7, length=5, seed=seed, temper=0.3), make_features(1, seed)
    every = sentences_of(7, 4)
    scores = dict(zip(every, log_probabilities(decoder, features, every), strict=True))
    ranked = sorted(every, key=lambda sentence: -scores[sentence] / length_penalty(len(sentence), alpha))
    decoding = Decoding(method="beam", beam_width=len(every), length_penalty=alpha, sentences=20)
    found = searched(decoder, features, decoding)
    assert found.token_ids[0].tolist() == [padded(sentence, 4) for sentence in ranked[:20]]
    assert found.log_probability[0] == pytest.approx([scores[sentence] for sentence in ranked[:20]], abs=1e-5)
    if alpha:
        assert ranked[0] != max(every, key=scores.__getitem__) or ranked[:20] != sorted(every, key=scores.get)[:20]


def test_a_beam_of_one_is_greedy_and_greedy_takes_the_likeliest() -> None:
    decoder, features = make_decoder(), make_features(16)
    greedy = searched(decoder, features, Decoding())
    one = searched(decoder, features, Decoding(method="beam", length_penalty=0.7))
    assert np.array_equal(greedy.token_ids, one.token_ids)
    assert np.allclose(greedy.log_probability, one.log_probability, atol=1e-6)
    assert np.array_equal(greedy.attention, one.attention)
    memory = decoder.memory(features)
    state, last = decoder.initial_state(memory), tf.fill((16,), START)
    ended = np.zeros(16, bool)
    for position in range(5):
        step = decoder.step(last, position, memory, state)
        likely = np.where(ended, PAD, step.logits.numpy()[:, [2, *range(4, 9)]].argmax(axis=1))
        likely = np.where(ended, PAD, np.where(likely == 0, END, likely + 3))
        assert np.array_equal(greedy.token_ids[:, 0, position], likely)
        assert np.allclose(greedy.attention[:, 0, position], np.where(ended[:, None], 0, step.attention))
        ended |= likely == END
        state, last = step.state, tf.constant(likely, tf.int32)
    assert ended.any()


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(),
        Decoding(method="beam", beam_width=4, length_penalty=0.7, sentences=3),
        Decoding(method="beam", beam_width=3, no_repeat_ngram=2),
        Decoding(method="sampling", temperature=0.8, top_k=3, seed=5, sentences=2),
        Decoding(no_repeat_ngram=1),
    ],
    ids=Decoding.describe,
)
def test_the_same_alone_in_a_batch_and_outside_of_the_graph(decoding: Decoding) -> None:
    decoder, features = make_decoder(), make_features(8, seed=3)
    find = searcher(decoder, decoding)
    together = find(features)
    assert together.token_ids.shape == (8, decoding.sentences, 5)
    assert len(np.unique(together.token_ids[:, 0], axis=0)) > 2, "the images have different sentences"
    for row in range(8):
        alone = find(features[row : row + 1])
        assert np.array_equal(alone.token_ids[0], together.token_ids[row])
        assert np.allclose(alone.log_probability[0], together.log_probability[row], atol=1e-5)
        assert np.allclose(alone.attention[0], together.attention[row], atol=1e-5)

    def step(tokens: np.ndarray, position: int, memory: dict, state: dict) -> captioning_search.StepOutputs:
        after = decoder.step(tf.constant(tokens), position, memory, state)
        return captioning_search.StepOutputs(
            after.logits.numpy(), {name: value.numpy() for name, value in after.state.items()}, after.attention.numpy()
        )

    memory = decoder.memory(features)
    state = decoder.initial_state(memory)
    arrays = [{name: value.numpy() for name, value in part.items()} for part in (memory, state)]
    outside = captioning_search.search(step, *arrays, decoding, 5)
    assert np.array_equal(outside.token_ids, together.token_ids)
    assert np.allclose(outside.log_probability, together.log_probability, atol=1e-5)
    assert np.allclose(outside.attention, together.attention, atol=1e-5)
    # And the log probability is that of the sentence as a whole.
    words = [tuple(sentence) for sentence in together.token_ids[:, 0].tolist()]
    assert together.log_probability[:, 0] == pytest.approx(log_probabilities(decoder, features, words), abs=1e-4)


@pytest.mark.parametrize("ngram", [1, 2, 3])
@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_ngrams_are_not_repeated(ngram: int, method: str) -> None:
    """Sentences of 9 tokens from 3 words, which would repeat themselves."""
    decoder, features = make_decoder(num_tokens=7, length=10), make_features(8)
    width = {} if method == "greedy" else {"beam_width": 3}

    def repeats(sentence: list[int]) -> bool:
        words = [token for token in sentence if token >= 4]
        grams = [tuple(words[at : at + ngram]) for at in range(len(words) - ngram + 1)]
        return len(set(grams)) < len(grams)

    free = searched(decoder, features, Decoding(method=method, **width)).token_ids[:, 0].tolist()
    held = searched(decoder, features, Decoding(method=method, no_repeat_ngram=ngram, **width)).token_ids[:, 0].tolist()
    assert any(map(repeats, free))
    assert not any(map(repeats, held))
    kept = [before for before in free if not repeats(before)]
    assert method == "beam" or all(before in held for before in kept), "what does not repeat stays as it was"


def test_special_tokens_never_occur_and_sentences_end_once() -> None:
    decoder, features = make_decoder(length=9), make_features(64)
    for decoding in (Decoding(), Decoding(method="sampling", temperature=5.0), Decoding(method="beam", beam_width=3)):
        ids = searched(decoder, features, decoding).token_ids[:, 0]
        assert not np.isin(ids, [START, 3]).any()
        ended = np.cumsum(ids == END, axis=1)
        assert np.array_equal(ids == PAD, (ended == 1) & (ids != END)), "<pad> behind the one <end>, and only there"


def test_samples_have_the_wanted_distribution() -> None:
    """The first word of one image over 4000 draws, against the softmax of its logits."""
    decoder, features = make_decoder(length=3, temper=0.5), make_features(1)
    memory = decoder.memory(features)
    logits = decoder.step(tf.constant([START]), 0, memory, decoder.initial_state(memory)).logits.numpy()[0]
    for temperature, top_k in ((1.0, 0), (2.0, 0), (1.0, 3)):
        wanted = logits / temperature
        wanted[[0, 1, 3]] = -np.inf
        if top_k:
            wanted[wanted < np.sort(wanted)[-top_k]] = -np.inf
        shares = np.exp(wanted - wanted.max())
        shares /= shares.sum()
        counts = np.zeros(9)
        for seed in range(16):
            decoding = Decoding(method="sampling", temperature=temperature, top_k=top_k, seed=seed, sentences=250)
            first = search(decoder, features, decoding).token_ids[0, :, 0]
            counts += np.bincount(first.numpy(), minlength=9)
        # Five standard deviations of a share of 4000.
        assert np.all(np.abs(counts / 4000 - shares) <= 5 * np.sqrt(shares * (1 - shares) / 4000))


def test_sampling_repeats_itself_and_not_another_seed() -> None:
    decoder, features = make_decoder(temper=0.5), make_features(8)

    def drawn(seed: int) -> np.ndarray:
        return searched(decoder, features, Decoding(method="sampling", seed=seed, sentences=4)).token_ids

    assert np.array_equal(drawn(1), drawn(1))
    assert not np.array_equal(drawn(1), drawn(2))
    assert len(np.unique(drawn(1)[0], axis=0)) > 1, "the sentences of an image are drawn one by one"


def test_the_search_stops_when_all_have_ended() -> None:
    """Outside of the graph, where steps can be counted; inside, the positions that would fail are not reached."""
    decoder, features = make_decoder(length=40, temper=0.3), make_features(3)
    calls: list[int] = []

    def step(tokens: np.ndarray, position: int, memory: dict, state: dict) -> captioning_search.StepOutputs:
        calls.append(position)
        after = decoder.step(tf.constant(tokens), position, memory, state)
        return captioning_search.StepOutputs(after.logits.numpy(), {"hidden": after.state["hidden"].numpy()})

    memory = decoder.memory(features)
    state = decoder.initial_state(memory)
    arrays = [{name: value.numpy() for name, value in part.items()} for part in (memory, state)]
    for decoding in (Decoding(method="sampling"), Decoding(method="beam", beam_width=5, length_penalty=0.5)):
        calls.clear()
        found = captioning_search.search(step, *arrays, decoding, 39)
        longest = int((found.token_ids != PAD).sum(axis=2).max())
        assert calls == list(range(found.steps))
        assert longest <= found.steps < 39
        inside = searched(decoder, features, decoding)
        assert np.array_equal(inside.token_ids, found.token_ids)
