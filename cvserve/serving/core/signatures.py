"""What a model can be asked for by name, and the checks of a request against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cvserve.artifact import Manifest
from cvserve.errors import InvalidInput
from cvserve.runtimes.base import Runtime, TensorInfo

DEFAULT = "serving_default"
"""The signature of a request that names none."""

BYTES = "bytes"
"""The signature that takes encoded pictures, decoded by the server's own pipeline."""

IMAGE_BYTES = "image_bytes"
"""The one input of BYTES: a vector of encoded pictures."""


@dataclass(frozen=True)
class Signature:
    """An entry point of a model. Names map to tensors, the batch dimension first."""

    name: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]

    def check_inputs(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Names and dtypes; shapes are left to the graph, as in TensorFlow Serving, whose texts these are.

        Raises:
            InvalidInput
        """
        sent, wanted = set(inputs), set(self.inputs)
        if len(sent) != len(wanted):
            raise InvalidInput(
                f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != "
                f"len({_set(wanted)}). Sent extra: {_set(sent - wanted)}. Missing but required: {_set(wanted - sent)}."
            )
        for name in sorted(sent - wanted):
            raise InvalidInput(
                f"input tensor alias not found in signature: {name}. Inputs expected to be in the set {_set(wanted)}."
            )
        for name, array in inputs.items():
            dtype = "bytes" if array.dtype.kind in "OS" else array.dtype.name
            if dtype != self.inputs[name].dtype:
                raise InvalidInput(
                    f"input {name!r} is {dtype}, but signature {self.name!r} takes {self.inputs[name].dtype}"
                )

    def check_outputs(self, names: Sequence[str]) -> tuple[str, ...] | None:
        """The outputs to compute for an output filter; an empty filter wants all of them, which is None.

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


def signatures_of(runtime: Runtime, manifest: Manifest) -> dict[str, Signature]:
    """The graph itself, and the same with encoded pictures in front of it."""
    signatures = {DEFAULT: Signature(DEFAULT, runtime.inputs, runtime.outputs)}
    if set(runtime.inputs) == {manifest.input.name}:
        pictures = {IMAGE_BYTES: TensorInfo(IMAGE_BYTES, "bytes", (None,))}
        signatures[BYTES] = Signature(BYTES, pictures, runtime.outputs)
    return signatures


def _set(names: Mapping[str, object] | set[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
