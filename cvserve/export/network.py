"""Wraps a Keras model for the export: from uint8 `images` to a dict of named float32 outputs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cvserve.artifact import InputSpec, PreprocSpec
from cvserve.errors import ExportError
from cvserve.extras import require
from cvserve.runtimes.tensorflow import import_tensorflow

if TYPE_CHECKING:
    import keras

INPUT = "images"
_HALF = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")


class Network:
    """Wraps a model as a function without training behaviour.

    Args:
        model: takes uint8 images [B, H, W, 3] and returns a dict of tensors.
        preproc: gives H and W.
    """

    def __init__(self, model: keras.Model, preproc: PreprocSpec) -> None:
        _check_layers(model)
        self.model = in_float32(model)
        self.preproc = preproc
        _check_input(self.model, preproc)

    @functools.cached_property
    def function(self) -> Any:
        """Returns the tf.function from uint8 `images` [B, H, W, 3] to the outputs by name; all formats share it."""
        tf = import_tensorflow()

        def answer(images: Any) -> dict[str, Any]:
            # An identity each, so that no two outputs, nor an output and the input, are one tensor.
            return {name: tf.identity(value) for name, value in sorted(self(images).items())}

        return tf.function(answer, [tf.TensorSpec((None, *self.image_shape), tf.uint8, name=INPUT)], autograph=False)

    @property
    def ties(self) -> bool:
        """Returns whether a layer depends on which of two equal values comes first, so that the last digit may decide.

        Such a layer has an attribute `ties_decide`, as `MaxPoolingWithSwitches` has.
        """
        return any(getattr(layer, "ties_decide", False) for layer in self.model._flatten_layers())

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Returns [H, W, 3] of one image."""
        return self.preproc.height, self.preproc.width, 3

    def __call__(self, images: Any) -> dict[str, Any]:
        """Returns the outputs by name for uint8 images [B, H, W, 3]. Random layers and dropout are off."""
        # Keras' random layers default to training=True: without this, augmentation is baked into the served graph.
        outputs = self.model(images, training=False)
        if not isinstance(outputs, Mapping) or not outputs:
            raise ExportError(
                f"the network must return a dict of named tensors such as {{'probabilities': ...}}, "
                f"not {type(outputs).__name__}"
            )
        return dict(outputs)

    def answers(self, images: np.ndarray, batch_size: int = 8) -> dict[str, np.ndarray]:
        """Returns the outputs of Keras itself, with which every graph is compared.

        Args:
            images: uint8 [N, H, W, 3].

        Returns:
            Arrays [N, ...] by output name.
        """
        parts = [self(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
        return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def _check_layers(model: keras.Model) -> None:
    """Refuses layers that run Python, whose graph would work nowhere else. They have an attribute `not_exportable`."""
    for layer in model._flatten_layers():
        reason = getattr(layer, "not_exportable", None)
        if reason is not None:
            raise ExportError(f"{model.name} cannot be exported: {reason}")


def _check_input(model: keras.Model, preproc: PreprocSpec) -> None:
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return  # a subclassed model that has not been built does not know its input
    if len(inputs) != 1:
        raise ExportError(f"the network must have one input, images, not {len(inputs)}")
    shape, dtype = tuple(inputs[0].shape), str(inputs[0].dtype)
    wanted = (None, preproc.height, preproc.width, 3)
    fits = len(shape) == 4 and all(size in (None, other) for size, other in zip(shape, wanted, strict=True))
    if not fits or dtype != "uint8":
        raise ExportError(
            f"the network takes {dtype} {list(shape)}, but {preproc.height} x {preproc.width} uint8 RGB images are "
            "what it will be given"
        )


def in_float32(model: keras.Model) -> keras.Model:
    """Returns the network with every layer computing in float32; as it is, where all do so already.

    A graph of half precision convolutions cannot be written as TFLite, and is slow on every CPU.
    """
    keras = require("keras")
    layers = [layer for layer in model._flatten_layers() if layer is not model]
    if not any(layer.dtype_policy.name in _HALF for layer in layers):
        return model
    config = _with_float32(keras.saving.serialize_keras_object(model))
    rebuilt = keras.saving.deserialize_keras_object(config)
    if not rebuilt.built:
        raise ExportError("a network of mixed precision can only be exported if its configuration says how to build it")
    rebuilt.set_weights([np.asarray(weight, np.float32) for weight in model.get_weights()])
    return rebuilt


def _with_float32(config: Any) -> Any:
    if isinstance(config, dict):
        is_policy = config.get("class_name") == "DTypePolicy"
        changed = {key: _with_float32(value) for key, value in config.items()}
        if is_policy and changed["config"].get("name") in _HALF:
            changed["config"] = {**changed["config"], "name": "float32"}
        elif isinstance(config.get("dtype"), str) and config["dtype"] in _HALF:
            changed["dtype"] = "float32"
        return changed
    if isinstance(config, list | tuple):
        return type(config)(_with_float32(item) for item in config)
    return config


def output_names(model: keras.Model) -> list[str]:
    """Returns the names of a network's outputs."""
    return list(model.output) if isinstance(model.output, Mapping) else list(model.output_names)


def with_pixel_input(model: keras.Model, spec: InputSpec, preproc: PreprocSpec, picked: str, name: str) -> keras.Model:
    """Gives an imported network cvserve's input: its scaling, channel order and layout become layers.

    Args:
        model: has one input.
        spec: how uint8 RGB pixels become that input.
        picked: the wanted output, one of `output_names(model)`.
        name: its name in the new model.

    Returns:
        A model from uint8 `images` [B, H, W, 3] to {name: tensor}.
    """
    keras = require("keras")
    images = keras.Input((preproc.height, preproc.width, 3), dtype="uint8", name=INPUT)
    x = keras.ops.cast(images, "float32")
    if spec.channels == "BGR":
        x = keras.ops.take(x, np.array([2, 1, 0]), axis=-1)
    std = np.array(spec.std, np.float64)
    scale, offset = spec.scale / std, -np.array(spec.mean, np.float64) / std
    if np.any(scale != 1) or np.any(offset != 0):
        x = keras.layers.Rescaling(scale.tolist(), offset=offset.tolist(), name="pixels")(x)
    if spec.layout == "NCHW":
        x = keras.ops.transpose(x, (0, 3, 1, 2))
    if str(model.inputs[0].dtype) != "float32":
        x = keras.ops.cast(x, model.inputs[0].dtype)
    answers = model(x)
    if isinstance(answers, Mapping):
        answer = answers[picked]
    elif isinstance(answers, list | tuple):
        answer = answers[output_names(model).index(picked)]
    else:
        answer = answers
    return keras.Model(images, {name: answer}, name=f"{model.name.lstrip('_')}_of_pixels")
