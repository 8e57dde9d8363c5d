"""TFLite files with inputs of other shapes than they declare, and files with several signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import half_plus_two
import numpy as np
import pytest

from cvserve.errors import InvalidInput

tf = pytest.importorskip("tensorflow")
pytest.importorskip("ai_edge_litert")

from cvserve.runtimes.litert import LiteRtRuntime, signature_keys  # noqa: E402
from cvserve.serving.core import without_manifest  # noqa: E402
from cvserve.serving.core.settings import ModelSettings  # noqa: E402


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Signatures `double` (any rows of 2) and `product` ([1, 2] by a matrix)."""

    class Several(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def double(self, x: Any) -> Any:
            return {"y": x * 2.0}

        @tf.function(input_signature=[tf.TensorSpec([1, 2], tf.float32, name="x")])
        def product(self, x: Any) -> Any:
            return {"y": tf.matmul(x, tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))}

    root = tmp_path_factory.mktemp("several")
    module = Several()
    signatures = {"double": module.double, "product": module.product}
    tf.saved_model.save(module, str(root / "saved"), signatures=signatures)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(root / "saved"), signature_keys=list(signatures))
    (root / "1").mkdir()
    (root / "1" / "model.tflite").write_bytes(converter.convert())
    return root / "1"


def test_other_shapes_are_refused_unless_allowed(tmp_path: Path) -> None:
    file = half_plus_two.write_tflite(tmp_path / "1") / "model.tflite"
    vector = {"x": np.array([2, 4], np.float32)}
    strict = LiteRtRuntime(file)
    with pytest.raises(InvalidInput, match="has shape"):
        strict.run(vector)
    lenient = LiteRtRuntime(file, any_shape=True)
    assert lenient.run(vector)["y"].tolist() == [3, 4]
    scalar = lenient.run({"x": np.asarray(np.float32(2))})["y"]
    assert isinstance(scalar, np.ndarray)
    assert scalar.tolist() == 3
    np.testing.assert_array_equal(lenient.run({"x": np.zeros((3, 1), np.float32)})["y"], np.full((3, 1), 2))


def test_shapes_that_the_graph_cannot_use_are_the_clients_fault(several: Path) -> None:
    runtime = LiteRtRuntime(several / "model.tflite", signature="product", any_shape=True)
    for shape in ((), (1,), (3,), (1, 3), (1, 1, 5)):
        with pytest.raises(InvalidInput, match="LiteRT cannot run the model on this input"):
            runtime.run({"x": np.ones(shape, np.float32)})
    assert runtime.run({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[5, 7, 9]]


def test_every_signature_is_served(several: Path) -> None:
    assert signature_keys(several / "model.tflite") == ["double", "product"]
    loaded = without_manifest.load(several, ModelSettings(instances=2, threads=1))
    assert set(loaded.signatures) == {"double", "product"}
    first, second = loaded.entries
    x = np.ones((2, 2), np.float32)
    assert first.runs["double"]({"x": x}, None)["y"].tolist() == [[2, 2], [2, 2]]
    assert second.runs["product"]({"x": x}, None)["y"].tolist() == [[5, 7, 9]] * 2
    # Each worker has its own interpreters, since their calls would wait for each other.
    assert loaded.graphs == [first, second]
    loaded.close()


def test_a_file_that_is_written_over_or_removed_while_it_is_in_use(tmp_path: Path) -> None:
    file = half_plus_two.write_tflite(tmp_path / "1") / "model.tflite"
    runtime = LiteRtRuntime(file, any_shape=True)
    assert runtime.run({"x": np.ones((1, 1), np.float32)})["y"].tolist() == [[2.5]]
    file.write_bytes(b"")
    assert runtime.run({"x": np.ones((1, 1), np.float32)})["y"].tolist() == [[2.5]]
    file.unlink()
    # Another shape needs another interpreter.
    assert runtime.run({"x": np.ones(2, np.float32)})["y"].tolist() == [2.5, 2.5]
