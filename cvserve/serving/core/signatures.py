"""The signatures of a model, and the checks of a request against them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cvserve.artifact import Manifest
from cvserve.errors import InvalidInput
from cvserve.runtimes.base import Runtime, TensorInfo

DEFAULT = "serving_default"
"""The signature of a request that names none."""

BYTES = "bytes"
"""The signature of a model with a manifest that takes encoded images, decoded by the server's own pipeline."""

IMAGE_BYTES = "image_bytes"
"""The one input of BYTES: a vector of encoded images."""

DETECT = "detect"
"""The signature of a detector that decodes and suppresses boxes in its graph."""

PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
"""What a signature was made for (tensorflow/python/saved_model/signature_constants.py)."""


@dataclass(frozen=True)
class Signature:
    """Describes one entry point of a model. Names map to tensors, the batch dimension first.

    Attributes:
        name: the name by which requests choose it.
        inputs, outputs: dtypes and shapes by name.
        method_name: what it was made for.
        definition: the SignatureDef as it is in the file of a SavedModel; None for other graphs.
        defaults: the values of inputs that a request may leave out.
        batched: whether the first dimension of every tensor is the batch and is left open, so that rows of several
            requests can share a run.
        strict: whether the graph accepts only these ranks.
    """

    name: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method_name: str = PREDICT_METHOD
    definition: Any = field(default=None, compare=False)
    defaults: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)
    batched: bool = True
    strict: bool = True

    def complete(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the inputs, with the defaults of those that were left out.

        Names and dtypes are checked; shapes are left to the graph, as in TensorFlow Serving, whose texts these are
        (predict_util.cc; GetInputValues in tensorflow/cc/saved_model/util.cc).

        Raises:
            InvalidInput
        """
        sent, wanted = set(inputs), set(self.inputs)
        if len(sent) > len(wanted) or (len(sent) < len(wanted) and not self.defaults):
            raise InvalidInput(
                f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != "
                f"len({_set(wanted)}). Sent extra: {_set(sent - wanted)}. Missing but required: {_set(wanted - sent)}."
            )
        for name in sorted(sent - wanted):
            raise InvalidInput(
                f"input tensor alias not found in signature: {name}. Inputs expected to be in the set {_set(wanted)}."
            )
        for name in sorted(wanted - sent - set(self.defaults)):
            raise InvalidInput(
                f"Signature input alias: {name}(feed name: {self.inputs[name].name}:0) not found in request and no "
                f"default value provided. Inputs expected to be in the request {_set(sent)}, or default input alias "
                f"set: {','.join(sorted(self.defaults))}"
            )
        for name, array in inputs.items():
            dtype = "bytes" if array.dtype.kind in "OS" else array.dtype.name
            if dtype != self.inputs[name].dtype:
                raise InvalidInput(
                    f"input {name!r} is {dtype}, but signature {self.name!r} takes {self.inputs[name].dtype}"
                )
        return {**self.defaults, **inputs} if self.defaults else dict(inputs)

    def check_outputs(self, names: Sequence[str]) -> tuple[str, ...] | None:
        """Returns the outputs to compute for an output filter; None for an empty filter, which wants all of them.

        Raises:
            InvalidInput: an unknown or a repeated name, in TensorFlow Serving's words.
        """
        for index, name in enumerate(names):
            if name not in self.outputs:
                raise InvalidInput(
                    f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                    f"{_set(self.outputs)}."
                )
            if name in names[:index]:
                raise InvalidInput(f"duplicate output tensor alias: {name}")
        return tuple(names) or None

    def has_rows(self, inputs: Mapping[str, np.ndarray]) -> bool:
        """Returns whether the first dimension of these inputs is the batch.

        It is not if the model was not made for batches, or if the tensors have other ranks than those of the signature,
        which some graphs accept.
        """
        if self.strict:
            return True
        return self.batched and all(inputs[name].ndim == len(info.shape) for name, info in self.inputs.items())

    def describe(self) -> str:
        """Returns the text that errors show: its SignatureDef where it has one."""
        if self.definition is not None:
            return str(self.definition)
        return f"inputs {_set(self.inputs)}, outputs {_set(self.outputs)}, method_name {self.method_name!r}"


def signatures_of(runtime: Runtime, manifest: Manifest, detect: Runtime | None = None) -> dict[str, Signature]:
    """Returns the signatures of a model with a manifest: the graph itself, and the same for encoded images.

    Args:
        runtime: the runtime that runs the graph.
        manifest: the manifest of the model.
        detect: runs the signature "detect", where the model and the runtime have it.
    """
    signatures = {DEFAULT: Signature(DEFAULT, runtime.inputs, runtime.outputs)}
    if set(runtime.inputs) == {manifest.input.name}:
        images = {IMAGE_BYTES: TensorInfo(IMAGE_BYTES, "bytes", (None,))}
        signatures[BYTES] = Signature(BYTES, images, runtime.outputs)
    if detect is not None:
        signatures[DETECT] = Signature(DETECT, detect.inputs, detect.outputs)
    return signatures


def open_batch(infos: Iterable[TensorInfo]) -> bool:
    """Returns whether each tensor has a first dimension of open size."""
    return all(info.ranked and info.shape[:1] == (None,) for info in infos)


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
