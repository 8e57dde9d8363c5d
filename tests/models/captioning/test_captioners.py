"""What is special about captioning networks; what all networks have in common: test_every_network.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cvserve.artifact.vocabulary import END, PAD, START, UNKNOWN
from cvserve.errors import InvalidInput
from cvserve.models import build_model, create_model
from cvserve.models.captioning.captioner import Captioner

SIZE = (32, 48)
TOKENS, LENGTH = 11, 7
_ENCODER = {"backbone_options": {"width": 4}, "stride": 16, "channels": 6}
_RECURRENT = {**_ENCODER, "units": 8, "embedding": 6, "dropout": 0.0}
_TRANSFORMER = {**_ENCODER, "width": 8, "depth": 2, "heads": 2, "hidden": 12, "dropout": 0.0}
ALL: dict[str, tuple[str, dict[str, Any]]] = {
    "show_and_tell": ("show_and_tell", _RECURRENT),
    "show_and_tell, rnn": ("show_and_tell", {**_RECURRENT, "cell": "rnn", "image": "always"}),
    "show_and_tell, gru": ("show_and_tell", {**_RECURRENT, "cell": "gru", "pooling": "flatten"}),
    "show_attend_tell": ("show_attend_tell", {**_RECURRENT, "attention": 5}),
    "show_attend_tell, gru": ("show_attend_tell", {**_RECURRENT, "attention": 5, "cell": "gru", "places": False}),
    "transformer": ("transformer", _TRANSFORMER),
    "transformer, as published": (
        "transformer",
        {**_TRANSFORMER, "positions": "sinusoidal", "activation": "gelu_tanh", "backbone": "csp"},
    ),
}


def _small(name: str, **more: Any) -> Captioner:
    model, options = ALL[name]
    keras.utils.set_random_seed(0)
    built = build_model(
        "captioning",
        model,
        num_classes=TOKENS,
        length=LENGTH,
        image_size=SIZE,
        **{"backbone": "resnet18", **options, **more},
    )
    # Scores of some size: with those of a new network every place and every word would be nearly alike.
    for variable in built.decoder.trainable_variables:
        variable.assign(3.0 * variable)
    return built


def _images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), np.uint8)


def _sentences(count: int = 3) -> np.ndarray:
    tokens = np.random.default_rng(1).integers(UNKNOWN + 1, TOKENS, (count, LENGTH)).astype(np.int32)
    tokens[:, 0], tokens[0, 4:], tokens[1, -1] = START, (END, PAD, PAD), END
    return tokens


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_teacher_forcing_equals_the_steps(name: str) -> None:
    """Cache, positions and masks of whole sentences are those of a token at a time; later words have no influence."""
    built, tokens = _small(name), _sentences()
    features = built.encoder(_images(), training=False)
    teacher_forced = built.teacher_forced(features, tokens)
    assert teacher_forced.logits.shape == (3, LENGTH - 1, TOKENS)
    np.testing.assert_allclose(built.logits(_images(), tokens), teacher_forced.logits, atol=1e-5)
    np.testing.assert_allclose(built.decoder(features, tokens[:, :-1]), teacher_forced.logits, atol=1e-5)
    memory = built.decoder.memory(features)
    state = built.decoder.initial_state(memory)
    step = tf.function(built.decoder.step)
    for position in range(LENGTH - 1):
        taken = step(tf.constant(tokens[:, position]), tf.constant(position), memory, state)
        assert {key: (value.shape, value.dtype) for key, value in taken.state.items()} == {
            key: (value.shape, value.dtype) for key, value in state.items()
        }
        state = taken.state
        np.testing.assert_allclose(taken.logits, teacher_forced.logits[:, position], atol=2e-4)
        if built.decoder.attends:
            np.testing.assert_allclose(taken.attention, teacher_forced.attention[:, position], atol=1e-5)
            np.testing.assert_allclose(tf.reduce_sum(taken.attention, axis=-1), 1.0, atol=1e-5)
    assert float(tf.math.reduce_std(teacher_forced.logits)) > 0.1, "scores that are all alike show nothing"


@pytest.mark.parametrize("image", ["first", "always"])
@pytest.mark.parametrize("pooling", ["average", "flatten"])
def test_large_features_do_not_hide_the_words(image: str, pooling: str) -> None:
    """show_and_tell gives the cell an image's vector of the same size, however large the features have become."""
    decoder = _small("show_and_tell", image=image, pooling=pooling).decoder
    features = tf.constant(np.random.default_rng(0).normal(size=(2, 6, 6)), tf.float32)
    once, grown = (decoder.memory(scale * features)["picture"] for scale in (1.0, 1000.0))
    np.testing.assert_allclose(once, grown, rtol=1e-3, atol=1e-3)
    assert np.std(grown) > 0.5


def test_dropout_is_of_training_alone() -> None:
    built = _small("show_and_tell", dropout=0.5)
    features = tf.random.stateless_normal((3, 6, 6), [0, 0])
    one, two = (built.decoder.teacher_forced(features, _sentences(), training=True).logits for _ in range(2))
    assert not np.allclose(one, two)
    one, two = (built.decoder.teacher_forced(features, _sentences()).logits for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_only_the_image_is_computed_in_lower_precision(tmp_path: Path) -> None:
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        built = _small("show_attend_tell")
    finally:
        keras.config.set_dtype_policy(policy)
    assert built.backbone.output.dtype == "bfloat16"
    assert built.encoder.output.dtype == built.logits(_images(), _sentences()).dtype.name == "float32"
    assert built.network(_images())["attention"].dtype == tf.float32


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("show_and_tell", {"cell": "mut1"}, "show_and_tell has no cell 'mut1'; known: rnn, gru, lstm"),
        ("show_and_tell", {"image": "never"}, "show_and_tell has no image 'never'; known: first, always"),
        ("show_attend_tell", {"units": 0}, "needs a units of at least 2"),
        ("show_attend_tell", {"stride": 64}, "backbone resnet18 has no feature map of stride 64"),
        ("transformer", {"width": 10, "heads": 4}, "a multiple of its 4 heads, not 10"),
        ("transformer", {"activation": "gelu"}, "has no activation 'gelu'; known: relu, gelu_tanh"),
        ("transformer", {"image_size": 40}, "sides are multiples of 16 pixels, not 40 x 40"),
        ("transformer", {"heat": 1}, "transformer takes no such option: 'heat'"),
    ],
)
def test_invalid_options_are_one_sentence(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence.replace("(", r"\(")):
        create_model("captioning", name, num_classes=9, **{"image_size": 64, **options})
