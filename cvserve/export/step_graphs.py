"""Builds the extra signatures of a captioning network: `encode` for an image, and `step` for the next token.

The graph itself returns a sentence in one call. With these two a client can search sentences itself: with an early
stop for each image, with wider beams, or where a format has no loop. `cvserve.stepwise` does so, and explains the
tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cvserve.artifact import StepGraphs
from cvserve.artifact.graphs import MEMORY, NEXT, STATE
from cvserve.export.network import INPUT, Network
from cvserve.runtimes.tensorflow import import_tensorflow

if TYPE_CHECKING:
    from cvserve.models.captioning.captions import Captions

ENCODE: str = StepGraphs.model_fields["encode"].default
STEP: str = StepGraphs.model_fields["step"].default


def step_functions(network: Network, captions: Captions) -> dict[str, Any]:
    """Returns the tf.functions by signature; see `cvserve.artifact.StepGraphs`.

    Args:
        captions: the network's layer that searches.
    """
    tf = import_tensorflow()
    import keras

    decoder = captions.decoder
    encoder = keras.Model(network.model.input, captions.input)

    def encode(images: Any) -> dict[str, Any]:
        memory = decoder.memory(encoder(images, training=False))
        return _named(MEMORY, memory) | _named(STATE, decoder.initial_state(memory))

    images = tf.TensorSpec((None, *network.image_shape), tf.uint8, name=INPUT)
    encoding = tf.function(encode, [images], autograph=False)
    carried = encoding.get_concrete_function().structured_outputs
    specs = [
        tf.TensorSpec((None,), tf.int32, name="tokens"),
        tf.TensorSpec((None,), tf.int32, name="position"),
        *(tf.TensorSpec(value.shape, value.dtype, name=name) for name, value in sorted(carried.items())),
    ]

    def step(*values: Any) -> dict[str, Any]:
        inputs = {spec.name: value for spec, value in zip(specs, values, strict=True)}
        memory, state = (
            {name.removeprefix(prefix): value for name, value in inputs.items() if name.startswith(prefix)}
            for prefix in (MEMORY, STATE)
        )
        after = decoder.step(inputs["tokens"], inputs["position"][0], memory, state)
        answers = {"logits": tf.identity(after.logits), **_named(NEXT, after.state)}
        return answers if after.attention is None else {**answers, "attention": tf.identity(after.attention)}

    return {ENCODE: encoding, STEP: tf.function(step, specs, autograph=False)}


def _named(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    """Adds a prefix to the names, and an identity to each tensor: no two tensors of a signature may be the same."""
    tf = import_tensorflow()
    return {f"{prefix}{name}": tf.identity(value) for name, value in sorted(values.items())}
