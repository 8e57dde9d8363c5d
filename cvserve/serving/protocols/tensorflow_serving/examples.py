"""The rules of Classify, Regress and MultiInference, which take serialised tf.Examples.

The graph parses the examples itself; this module checks requests and answers. The rules, their order and their
texts are those of TensorFlow Serving (servables/tensorflow/util.cc, classifier.cc, regressor.cc, multi_inference.cc).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cvserve.errors import FailedPrecondition, InvalidInput
from cvserve.serving.core.batching.execution import Tensors
from cvserve.serving.core.signatures import CLASSIFY_METHOD, DEFAULT, REGRESS_METHOD, Signature

INPUTS = "inputs"
CLASSES = "classes"
SCORES = "scores"
VALUES = "outputs"

ClassList = list[tuple[str, float]]
"""The label and the score of each class of one example; "" or 0.0 where the model gives only the other."""


@dataclass(frozen=True)
class Examples:
    """Holds serialised tf.Examples. context: an example whose features are added to every example; None: none."""

    examples: Sequence[bytes]
    context: bytes | None = None


@dataclass(frozen=True)
class Task:
    """Describes one task of a MultiInference. signature: empty for the default. method: the method name of a
    signature."""

    model_name: str
    signature: str
    method: str

    @property
    def effective_signature(self) -> str:
        """Returns the name of the signature; the default one where the request names none."""
        return self.signature or DEFAULT


def merged(examples: Sequence[bytes], context: bytes | None = None) -> np.ndarray:
    """Returns the serialised examples as the tensor of strings [N] that the graph parses.

    Args:
        examples: serialised tf.Examples.
        context: a serialised tf.Example whose features are added to every example that does not have them itself.

    Raises:
        InvalidInput: no examples.
    """
    if not len(examples):
        raise InvalidInput("Input is empty.")
    strings = np.empty(len(examples), object)
    # Protobuf merges messages when their serialised bytes are concatenated.
    strings[:] = [(context or b"") + example for example in examples]
    return strings


def check_classify(signature: Signature) -> tuple[str, ...]:
    """Returns the outputs that Classify needs of a signature.

    Raises:
        InvalidInput, FailedPrecondition: the signature does not fit Classify.
    """
    if len(signature.inputs) != 1:
        raise InvalidInput("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise InvalidInput(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise FailedPrecondition(f"No classification inputs found in SignatureDef: {signature.describe()}")
    outputs = tuple(name for name in (CLASSES, SCORES) if name in signature.outputs)
    if not outputs:
        raise FailedPrecondition(
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". '
            f"Signature was: {signature.describe()}"
        )
    return outputs


def check_regress(signature: Signature) -> tuple[str, ...]:
    """Returns the outputs that Regress needs of a signature.

    Raises:
        InvalidInput, FailedPrecondition: the signature does not fit Regress.
    """
    if len(signature.inputs) != 1:
        raise InvalidInput("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise InvalidInput("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise FailedPrecondition(f"No regression inputs found in SignatureDef: {signature.describe()}")
    if VALUES not in signature.outputs:
        raise FailedPrecondition(f"No regression outputs found in SignatureDef: {signature.describe()}")
    return (VALUES,)


def check_task(method: str, signature: Signature) -> tuple[str, ...]:
    """Returns the outputs that a task needs of its signature.

    Raises:
        InvalidInput: the method is not a task. InvalidInput, FailedPrecondition: the signature does not fit it.
    """
    if method == CLASSIFY_METHOD:
        return check_classify(signature)
    if method == REGRESS_METHOD:
        return check_regress(signature)
    raise InvalidInput(f"Unsupported signature method_name: {method}")


def check_tasks(tasks: Sequence[Task]) -> None:
    """Checks that the tasks of one request fit together; their signatures are not checked.

    Raises:
        InvalidInput
    """
    seen: set[str] = set()
    for task in tasks:
        if not task.model_name:
            raise InvalidInput("Found ModelSpec with an empty model name.")
        if task.model_name != tasks[0].model_name:
            raise InvalidInput("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if task.effective_signature in seen:
            raise InvalidInput(f"Duplicate evaluation of signature: {task.effective_signature}")
        seen.add(task.effective_signature)


def class_lists(outputs: Tensors, count: int) -> list[ClassList]:
    """Returns the classes of `count` examples from the outputs of Classify.

    Args:
        outputs: classes (strings) and scores (float32), both [N, C], or one of them.

    Raises:
        InvalidInput: the outputs have another form.
    """
    classes, scores = outputs.get(CLASSES), outputs.get(SCORES)
    for array, what, dtype in ((classes, CLASSES, "DT_STRING"), (scores, SCORES, "DT_FLOAT")):
        if array is None:
            continue
        if array.ndim != 2:
            raise InvalidInput(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        if _dtype(array) != dtype:
            raise InvalidInput(f"Expected {what} Tensor of {dtype}. Got: {_dtype(array)}")
        if len(array) != count:
            raise InvalidInput(f"Expected {what} output batch size of {count}. Got: {len(array)}")
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise InvalidInput(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    width = next(array.shape[1] for array in (classes, scores) if array is not None)
    labels = [[""] * width] * count if classes is None else [list(map(_text, row)) for row in classes]
    numbers = [[0.0] * width] * count if scores is None else scores.tolist()
    return [list(zip(*row, strict=True)) for row in zip(labels, numbers, strict=True)]


def values(outputs: Tensors, count: int) -> list[float]:
    """Returns the numbers of `count` examples from the output of Regress.

    Args:
        outputs: one tensor, float32 [N] or [N, 1].

    Raises:
        InvalidInput: the output has another form.
    """
    array = outputs[VALUES]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise InvalidInput(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if len(array) != count:
        raise InvalidInput(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if _dtype(array) != "DT_FLOAT":
        raise InvalidInput(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(array)}")
    numbers: list[float] = array.reshape(-1).tolist()
    return numbers


def _text(label: bytes | str) -> str:
    # The field of the answer holds text, so bytes that are not UTF-8 are replaced.
    return label if isinstance(label, str) else label.decode("utf-8", "replace")


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


_TENSORFLOW_NAME = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF"}


def _dtype(array: np.ndarray) -> str:
    if array.dtype.kind in "OSU":
        return "DT_STRING"
    return _TENSORFLOW_NAME.get(array.dtype.name, f"DT_{array.dtype.name.upper()}")
