"""TensorFlow Serving's half-plus-two, y = x / 2 + 2, in all its forms, made here with TensorFlow itself.

TF1: a graph that parses tf.Example, with Predict, Classify and Regress signatures, variables, an asset and a main op,
like the one in tensorflow_serving/servables/tensorflow/testdata. TF2: a tf.Module. TFLite: of both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def write_tf1(directory: Path, *, text: bool = False, tags: tuple[str, ...] = ("serve",)) -> Path:
    """The TF1 form. y = a x + b, y2 = a x + c, y3 = a x2 + c with a = 0.5, b = 2, c = 3.

    Args:
        text: saved_model.pbtxt instead of saved_model.pb.
    """
    tf = pytest.importorskip("tensorflow").compat.v1
    saved = tf.saved_model
    graph = tf.Graph()
    with graph.as_default(), tf.Session(graph=graph) as session, tf.device("/cpu:0"):
        a, b, c = (tf.get_variable(name, initializer=value) for name, value in (("a", 0.5), ("b", 2.0), ("c", 3.0)))
        serialised = tf.placeholder(tf.string, name="tf_example", shape=[None])
        features = {
            "x": tf.FixedLenFeature([1], tf.float32),
            "x2": tf.FixedLenFeature([1], tf.float32, default_value=[0.0]),
        }
        parsed = tf.parse_example(serialised, features)
        x = tf.identity(parsed["x"], name="x")
        x2 = tf.identity(parsed["x2"], name="x2")
        y = tf.identity(a * x + b, name="y")
        y2 = tf.identity(a * x + c, name="y2")
        y3 = tf.identity(a * x2 + c, name="y3")
        asset = directory.parent / f"{directory.name}-foo.txt"
        asset.parent.mkdir(parents=True, exist_ok=True)
        asset.write_text("asset-file-contents")
        tf.add_to_collection(tf.GraphKeys.ASSET_FILEPATHS, tf.constant(str(asset)))
        filename = tf.Variable("foo.txt", name="filename_tensor", trainable=False, collections=[])

        def signature(inputs: dict[str, Any], outputs: dict[str, Any], method: str) -> Any:
            return saved.build_signature_def(
                {name: saved.build_tensor_info(tensor) for name, tensor in inputs.items()},
                {name: saved.build_tensor_info(tensor) for name, tensor in outputs.items()},
                f"tensorflow/serving/{method}",
            )

        session.run(tf.global_variables_initializer())
        builder = saved.Builder(str(directory))
        builder.add_meta_graph_and_variables(
            session,
            list(tags),
            signature_def_map={
                "regress_x_to_y": signature({"inputs": serialised}, {"outputs": y}, "regress"),
                "regress_x_to_y2": signature({"inputs": serialised}, {"outputs": y2}, "regress"),
                "regress_x2_to_y3": signature({"inputs": x2}, {"outputs": y3}, "regress"),
                "classify_x_to_y": signature({"inputs": serialised}, {"scores": y}, "classify"),
                "serving_default": signature({"x": x}, {"y": y}, "predict"),
            },
            assets_collection=tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS),
            main_op=tf.group(filename.assign("foo.txt")),
        )
        builder.save(as_text=text)
    asset.unlink()
    return directory


def tf2_module() -> Any:
    """The TF2 form before it is saved."""
    tf = pytest.importorskip("tensorflow")

    class HalfPlusTwo(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = tf.Variable(0.5), tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
        def predict(self, x: Any) -> Any:
            return {"y": self.a * x + self.b}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
        def regress(self, inputs: Any) -> Any:
            features = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})
            return {"outputs": self.a * features["x"] + self.b}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
        def classify(self, inputs: Any) -> Any:
            features = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})
            scores = tf.concat([self.a * features["x"] + self.b, features["x"]], 1)
            classes = tf.tile([["half plus two", "x"]], [tf.shape(inputs)[0], 1])
            return {"scores": scores, "classes": classes}

    return HalfPlusTwo()


def write_tf2(directory: Path) -> Path:
    """The TF2 form, with the method names that TF2 gives to every signature."""
    tf = pytest.importorskip("tensorflow")
    module = tf2_module()
    signatures = {
        "serving_default": module.predict,
        "regress_x_to_y": module.regress,
        "classify_x_to_y": module.classify,
    }
    tf.saved_model.save(module, str(directory), signatures=signatures)
    return directory


def write_tflite(directory: Path, *, signature: bool = True) -> Path:
    """A TFLite file `x` [1, 1] to `y`; with a signature, or as old files are, with names of tensors only."""
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("ai_edge_litert")
    directory.mkdir(parents=True)
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([1, 1], tf.float32, name="x")])
    def predict(x: Any) -> Any:
        return {"y": 0.5 * x + 2.0}

    if signature:
        module.predict = predict
        saved = directory.parent / f"{directory.name}-saved"
        tf.saved_model.save(module, str(saved), signatures={"serving_default": predict})
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    else:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            x = tf.compat.v1.placeholder(tf.float32, [1, 1], name="x")
            y = tf.identity(0.5 * x + 2.0, name="y")
            converter = tf.compat.v1.lite.TFLiteConverter.from_session(session, [x], [y])
            (directory / "model.tflite").write_bytes(converter.convert())
            return directory
    (directory / "model.tflite").write_bytes(converter.convert())
    return directory
