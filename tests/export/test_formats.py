"""What each writer must get right, and how it says that it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_network import PREPROC, make_images, make_model

from cvserve.artifact import Artifact
from cvserve.errors import ExportError
from cvserve.export import tflite
from cvserve.export.network import Network, in_float32
from cvserve.export.onnx import write_onnx
from cvserve.export.saved_model import write_saved_model
from cvserve.export.tflite import write_tflite
from cvserve.runtimes import open_graph


def _network(tail: Any) -> Network:
    """24 x 32 images through `tail`, which takes float features [B, 24] and gives a dict."""
    keras = pytest.importorskip("keras")
    images = keras.Input((24, 32, 3), dtype="uint8", name="images")
    x = keras.ops.mean(keras.ops.cast(images, "float32"), axis=(2, 3)) / 64 - 2
    return Network(keras.Model(images, tail(x)), PREPROC)


def _assert_same(network: Network, path: Path) -> None:
    runtime = open_graph(path, "onnx")
    for batch in (1, 3):
        images = make_images(batch, seed=batch)
        answers = runtime.run({"images": images})
        for name, wanted in network.answers(images).items():
            np.testing.assert_allclose(answers[name], wanted, atol=1e-5)


def test_onnx_has_clean_names_and_an_open_batch(exported: Artifact) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported.directory / "model.onnx")
    shapes = {
        value.name: [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"images": ["batch", 24, 32, 3], "probabilities": ["batch", 5]}
    assert [item.version for item in model.opset_import if item.domain == ""] == [17]


def test_onnx_of_the_exact_gelu(tmp_path: Path) -> None:
    """tf2onnx has no Erfc, and copies it into the file unmapped."""
    keras = pytest.importorskip("keras")
    network = _network(lambda x: {"logits": keras.activations.gelu(x, approximate=False)})
    _assert_same(network, write_onnx(network, tmp_path / "gelu.onnx"))


def test_onnx_of_a_tensor_that_a_layer_holds(tmp_path: Path) -> None:
    """Normalization's constants become inputs that are never fed, unless the graph is frozen first."""
    keras = pytest.importorskip("keras")
    layer = keras.layers.Normalization(axis=-1, mean=np.arange(24.0), variance=np.ones(24) * 4)
    network = _network(lambda x: {"logits": layer(x)})
    _assert_same(network, write_onnx(network, tmp_path / "normalization.onnx"))


def test_onnx_of_grouped_convolutions(tmp_path: Path) -> None:
    """Keras hides them in functions compiled by XLA, into which tf2onnx does not look."""
    keras = pytest.importorskip("keras")
    images = keras.Input((24, 32, 3), dtype="uint8", name="images")
    x = keras.layers.Conv2D(12, 3, padding="same")(keras.layers.Rescaling(1 / 255)(images))
    x = keras.layers.Conv2D(24, 3, groups=4, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(24, 7, groups=24, padding="same")(x)
    x = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x))
    network = Network(keras.Model(images, {"logits": x}), PREPROC)
    _assert_same(network, write_onnx(network, tmp_path / "grouped.onnx"))


def test_onnx_of_several_outputs(tmp_path: Path) -> None:
    network = _network(lambda x: {"second": x * 2, "first": x[:, :5], "pass": x})
    _assert_same(network, write_onnx(network, tmp_path / "several.onnx"))


def test_onnx_names_the_operation_that_it_lacks(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    network = _network(lambda x: {"logits": x, "class": keras.ops.argmax(x, axis=-1)})
    with pytest.raises(ExportError, match="ONNX cannot hold this network: it has no operation Bitcast"):
        write_onnx(network, tmp_path / "argmax.onnx")
    assert not (tmp_path / "argmax.onnx").exists()


@pytest.mark.slow
def test_tflite_names_the_operation_that_it_lacks(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    network = _network(lambda x: {"logits": x, "class": keras.ops.argmax(x, axis=-1)})
    write_saved_model(network, tmp_path)
    with pytest.raises(ExportError, match=r"TFLite cannot hold this network: it has no operation tf\.Bitwise"):
        write_tflite(tmp_path, tmp_path / "model.tflite")


def test_a_converter_that_hangs_or_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child"
    child.mkdir()
    monkeypatch.syspath_prepend(str(child))
    monkeypatch.setenv("PYTHONPATH", str(child))
    monkeypatch.setattr(tflite, "_CHILD", "stand_in")
    (child / "stand_in.py").write_text("import time; time.sleep(30)")
    with pytest.raises(ExportError, match="given up after 1 s"):
        write_tflite(tmp_path, tmp_path / "model.tflite", time_limit=1)
    (child / "stand_in.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(ExportError, match="died of signal 11"):
        write_tflite(tmp_path, tmp_path / "model.tflite")
    (child / "stand_in.py").write_text("import sys; sys.exit(0)")
    with pytest.raises(ExportError, match="ended with code 0"):
        write_tflite(tmp_path, tmp_path / "model.tflite")


def test_a_network_without_named_outputs(tmp_path: Path) -> None:
    network = _network(lambda x: x)
    with pytest.raises(ExportError, match="must return a dict of named tensors"):
        write_onnx(network, tmp_path / "model.onnx")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_network_of_mixed_precision_becomes_float32(tmp_path: Path, policy: str) -> None:
    keras = pytest.importorskip("keras")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        mixed = make_model()
    finally:
        keras.config.set_dtype_policy(before)
    plain = make_model()
    plain.set_weights(mixed.get_weights())
    rebuilt = in_float32(mixed)
    assert {layer.compute_dtype for layer in rebuilt._flatten_layers()} <= {"float32", "uint8"}
    assert in_float32(plain) is plain
    images = make_images(3)
    np.testing.assert_array_equal(
        np.asarray(rebuilt(images, training=False)["probabilities"]),
        np.asarray(plain(images, training=False)["probabilities"]),
    )
    path = write_onnx(Network(mixed, PREPROC), tmp_path / "mixed.onnx")
    _assert_same(Network(plain, PREPROC), path)
