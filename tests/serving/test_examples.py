"""What Classify and Regress take and give, apart from any server."""

from __future__ import annotations

import numpy as np
import pytest

from cvserve.errors import InvalidInput
from cvserve.serving.core import examples


def strings(*rows: list[bytes]) -> np.ndarray:
    return np.array(rows, object)


def floats(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def test_labels_and_scores_are_joined() -> None:
    outputs = {
        "classes": strings([b"red", b"green"], [b"blue", b"\xff"]),
        "scores": np.array([[0.5, 0.25], [1, 0]], np.float32),
    }
    assert examples.class_lists(outputs, 2) == [[("red", 0.5), ("green", 0.25)], [("blue", 1.0), ("\ufffd", 0.0)]]


def test_labels_or_scores_alone() -> None:
    assert examples.class_lists({"classes": strings([b"red"], [b"blue"])}, 2) == [[("red", 0.0)], [("blue", 0.0)]]
    assert examples.class_lists({"scores": np.array([[0.5]], np.float32)}, 1) == [[("", 0.5)]]
    assert examples.class_lists({"scores": floats(2, 0)}, 2) == [[], []]


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"scores": floats(2)}, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ({"classes": strings([b"a"]).reshape(1, 1, 1)}, "[batch_size num_classes] but got [1,1,1]"),
        ({"scores": floats(2, 1).astype(np.float64)}, "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ({"classes": np.zeros((2, 1), np.int64)}, "Expected classes Tensor of DT_STRING. Got: DT_INT64"),
        ({"scores": floats(3, 1)}, "Expected scores output batch size of 2. Got: 3"),
        (
            {"classes": strings([b"a"], [b"b"]), "scores": floats(2, 3)},
            "Tensors class and score should match in dim_size(1). Got 1 vs. 3",
        ),
    ],
)
def test_outputs_that_are_no_classes(outputs: dict[str, np.ndarray], text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        examples.class_lists(outputs, 2)
    assert str(error.value).endswith(text)


def test_values_are_a_vector_or_a_column() -> None:
    assert examples.values({"outputs": np.array([1, 2], np.float32)}, 2) == [1.0, 2.0]
    assert examples.values({"outputs": np.array([[1], [2]], np.float32)}, 2) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        (
            floats(2, 2),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
        ),
        (floats(), "[batch_size] or [batch_size, 1] but got []"),
        (floats(3), "Input batch size did not match output batch size: 2 vs. 3"),
        (np.zeros(2, np.int32), "Expected output Tensor of DT_FLOAT.  Got: DT_INT32"),
    ],
)
def test_outputs_that_are_no_values(outputs: np.ndarray, text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        examples.values({"outputs": outputs}, 2)
    assert str(error.value).endswith(text)


def test_the_context_comes_before_each_example_so_that_the_example_wins() -> None:
    assert examples.merged([b"one", b""], b"shared").tolist() == [b"sharedone", b"shared"]
    assert examples.merged([b"one"]).tolist() == [b"one"]
    with pytest.raises(InvalidInput, match="Input is empty"):
        examples.merged([], b"shared")
