"""The toy graph as files and as an artifact."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from toy_graph import WEIGHTS, write_onnx

from cvserve.artifact import (
    Artifact,
    ClassificationPostproc,
    Graph,
    InputSpec,
    Manifest,
    OutputSpec,
    PreprocSpec,
    file_entry,
    publish,
)


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx(tmp_path_factory.mktemp("onnx") / "toy.onnx")


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Signatures: serving_default, `bytes` (strings to their lengths), `cropped` (an extra input of sizes)."""
    tf = pytest.importorskip("tensorflow")

    class Toy(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(WEIGHTS)

        @tf.function(input_signature=[tf.TensorSpec((None, 6, 8, 3), tf.uint8, name="images")])
        def serve(self, images):
            channels = tf.reduce_mean(tf.cast(images, tf.float32), (1, 2))
            return {"sums": channels @ self.weights, "brightness": tf.reduce_mean(channels, 1)}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])
        def lengths(self, image_bytes):
            return {"lengths": tf.strings.length(image_bytes), "echo": image_bytes}

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, None, None, 3), tf.float32, name="pixels"),
                tf.TensorSpec((2,), tf.int32, name="size"),
            ]
        )
        def cropped(self, pixels, size):
            part = pixels[:, : size[0], : size[1]]
            return {"total": tf.reduce_sum(part, (1, 2, 3)), "part": part}

    directory = tmp_path_factory.mktemp("saved_model")
    toy = Toy()
    signatures = {"serving_default": toy.serve, "bytes": toy.lengths, "cropped": toy.cropped}
    tf.saved_model.save(toy, str(directory), signatures=signatures)
    return directory


@pytest.fixture(scope="session")
def tflite_file(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("ai_edge_litert")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=["serving_default"])
    path = tmp_path_factory.mktemp("tflite") / "toy.tflite"
    path.write_bytes(converter.convert())
    return path


@pytest.fixture
def artifact(tmp_path: Path, onnx_file: Path, tflite_file: Path) -> Artifact:
    """An artifact with an ONNX and a TFLite graph."""
    return _publish(tmp_path / "repository" / "toy", onnx=onnx_file, tflite=tflite_file)


@pytest.fixture
def artifact_of_two(tmp_path: Path, onnx_file: Path, saved_model: Path) -> Artifact:
    """An artifact with an ONNX graph and a SavedModel."""
    return _publish(tmp_path / "repository" / "two", onnx=onnx_file, saved_model=saved_model)


def _publish(model_directory: Path, **sources: Path) -> Artifact:
    def build(directory: Path, version: int) -> Manifest:
        graphs = []
        for graph_format, source in sources.items():
            if source.is_dir():
                shutil.copytree(source, directory, dirs_exist_ok=True)
                paths = [directory / path.relative_to(source) for path in source.rglob("*") if path.is_file()]
                paths.sort(key=lambda path: path.name != "saved_model.pb")
            else:
                paths = [directory / f"model.{graph_format}"]
                paths[0].write_bytes(source.read_bytes())
            files = tuple(file_entry(directory, path) for path in paths)
            graphs.append(Graph.model_validate({"format": graph_format, "files": files}))
        return Manifest(
            name="toy",
            version=version,
            task="classification",
            labels=("a", "b", "c", "d"),
            preproc=PreprocSpec(height=6, width=8),
            input=InputSpec(name="images"),
            outputs=(OutputSpec(name="sums", role="logits", shape=(4,)),),
            postproc=ClassificationPostproc(activation="softmax"),
            graphs=tuple(graphs),
        )

    return publish(model_directory, build)
