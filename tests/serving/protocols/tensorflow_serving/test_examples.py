"""The inputs and outputs of Classify and Regress, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from serving_kit import turns

from cvserve.errors import InvalidInput
from cvserve.runtimes import TensorInfo
from cvserve.serving.core.batching.execution import Entries
from cvserve.serving.core.batching.policy import BatchLimits, QueueBounds
from cvserve.serving.core.decode_pool import DecodePool
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.loop_callbacks import LoopCallbacks
from cvserve.serving.core.servable import Servable
from cvserve.serving.core.signatures import Signature
from cvserve.serving.protocols.tensorflow_serving import examples
from cvserve.serving.protocols.tensorflow_serving.inference import infer


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
def test_outputs_that_are_not_classes(outputs: dict[str, np.ndarray], text: str) -> None:
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
def test_outputs_that_are_not_values(outputs: np.ndarray, text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        examples.values({"outputs": outputs}, 2)
    assert str(error.value).endswith(text)


def test_the_context_comes_before_each_example_so_that_the_example_wins() -> None:
    assert examples.merged([b"one", b""], b"shared").tolist() == [b"sharedone", b"shared"]
    assert examples.merged([b"one"]).tolist() == [b"one"]
    with pytest.raises(InvalidInput, match="Input is empty"):
        examples.merged([], b"shared")


async def test_when_one_task_fails_the_others_are_cancelled() -> None:
    def signature(name: str, dtype: str) -> Signature:
        values = {examples.VALUES: TensorInfo("y", "float32", (None,))}
        return Signature(name, {examples.INPUTS: TensorInfo("x", dtype, (None,))}, values, strict=False)

    def run(inputs: Mapping[str, np.ndarray], outputs: Any) -> dict[str, np.ndarray]:
        return {examples.VALUES: np.zeros(len(inputs[examples.INPUTS]), np.float32)}

    good, bad = signature("good", "bytes"), signature("bad", "float32")
    # A delay, so that the first task still waits when the second fails.
    limits = BatchLimits(8, delay=30)
    model = LoadedModel(
        (), 1, 1, limits, QueueBounds(), 8, entries=(Entries({"good": run}),), signatures={"good": good, "bad": bad}
    )
    callbacks = LoopCallbacks(asyncio.get_running_loop())
    pool = DecodePool(1, 1, 1, callbacks)
    servable = Servable("m", 1, model, pool, callbacks)
    method = examples.REGRESS_METHOD
    with pytest.raises(InvalidInput, match="takes float32"):
        await infer(servable, [(good, method), (bad, method)], examples.Examples([b"one"]))
    await turns()
    assert servable.queue.waiting == 0
    await asyncio.to_thread(servable.close)
    await asyncio.to_thread(pool.close)
