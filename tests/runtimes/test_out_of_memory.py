"""An input that asks a graph for more memory than there is: neither the server's fault nor a wrong tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cvserve.errors import OutOfMemory
from cvserve.runtimes import open_graph
from cvserve.runtimes.session import SavedModelSession
from cvserve.serving.errors import status_of

TOO_MUCH = {"size": np.array([1 << 20, 1 << 20], np.int64)}
"""Of floats: 4 TiB."""
SMALL = {"size": np.array([2, 3], np.int64)}


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kinds = onnx.helper, onnx.TensorProto
    one = helper.make_tensor("v", kinds.FLOAT, [1], [1])
    graph = helper.make_graph(
        [
            helper.make_node("ConstantOfShape", ["size"], ["ones"], value=one),
            helper.make_node("ReduceSum", ["ones"], ["total"], keepdims=0),
        ],
        "ones",
        [helper.make_tensor_value_info("size", kinds.INT64, [2])],
        [helper.make_tensor_value_info("total", kinds.FLOAT, [])],
    )
    path = tmp_path_factory.mktemp("onnx") / "ones.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tf = pytest.importorskip("tensorflow")

    class Ones(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((2,), tf.int64, name="size")])
        def serve(self, size):
            return {"total": tf.reduce_sum(tf.fill(size, 1.0) * tf.random.uniform(size, 1.0, 1.0001))}

    directory = tmp_path_factory.mktemp("saved_model")
    module = Ones()
    tf.saved_model.save(module, str(directory), signatures=module.serve)
    return directory


@pytest.mark.parametrize("kind", ["onnx", "saved_model"])
def test_it_is_an_error_and_the_next_call_is_answered(kind: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue("onnx_file" if kind == "onnx" else "saved_model")
    runtime = open_graph(path, kind)
    with pytest.raises(OutOfMemory, match=r"(cpu|CPU):0 has no memory left to run the model on this input: ") as caught:
        runtime.run(TOO_MUCH)
    assert (status_of(caught.value).grpc, status_of(caught.value).http) == ("RESOURCE_EXHAUSTED", 429)
    assert "\n" not in str(caught.value)
    assert runtime.run(SMALL)["total"] == pytest.approx(6, abs=1e-3)


def test_a_session_behaves_the_same(saved_model: Path) -> None:
    session = SavedModelSession(saved_model)
    entry = session.entries["serving_default"]
    with pytest.raises(OutOfMemory, match="OOM when allocating"):
        entry.run(TOO_MUCH)
    assert entry.run(SMALL)["total"] == pytest.approx(6, abs=1e-3)
    session.close()
