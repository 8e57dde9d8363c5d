"""A real but tiny captioner for tests: an ONNX graph that says which of red, green and blue an image has most of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cvserve.artifact import (
    Artifact,
    CaptioningPostproc,
    Graph,
    Manifest,
    OutputSpec,
    PreprocSpec,
    Vocabulary,
    file_entry,
    publish,
)
from cvserve.artifact.vocabulary import SPECIAL
from cvserve.text import Tokenizer

SIZE = 16
SENTENCES = ("A red wall's hat.", "green", "một bức tường 蓝")
READABLE = ("a red wall's hat", "green", "một bức tường蓝")
WORDS = ("▁a", "▁red", "▁wall", "'s", "▁hat", "▁green", "▁một", "▁bức", "▁tường", "蓝")
VOCABULARY = Vocabulary(kind="words", tokens=(*SPECIAL, *WORDS), length=8)


def publish_captioner(model_directory: Path) -> Artifact:
    """Publishes the next version of it under `model_directory`."""

    def build(directory: Path, version: int) -> Manifest:
        write_graph(directory / "model.onnx")
        return Manifest(
            name=model_directory.name,
            version=version,
            task="captioning",
            preproc=PreprocSpec(height=SIZE, width=SIZE, resize="exact"),
            outputs=(
                OutputSpec(name="token_ids", role="token_ids", dtype="int32", shape=(2, VOCABULARY.length)),
                OutputSpec(name="log_probability", role="log_probability", shape=(2,)),
            ),
            postproc=CaptioningPostproc(vocabulary=VOCABULARY),
            graphs=(Graph(format="onnx", files=(file_entry(directory, directory / "model.onnx"),)),),
        )

    return publish(model_directory, build)


def write_graph(path: Path) -> None:
    """uint8 `images` [batch, 16, 16, 3] -> the two likeliest sentences: `token_ids` [batch, 2, 8] and
    `log_probability` [batch, 2], of a softmax over a tenth of the pixels' means."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    sentences = Tokenizer(VOCABULARY).encode_all(SENTENCES)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Mul", ["mean", "tenth"], ["logits"]),
            helper.make_node("LogSoftmax", ["logits"], ["scores"], axis=1),
            helper.make_node("TopK", ["scores", "two"], ["log_probability", "places"], axis=1),
            helper.make_node("Gather", ["sentences", "places"], ["token_ids"], axis=0),
        ],
        "captioner",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("token_ids", TensorProto.INT32, ["batch", 2, VOCABULARY.length]),
            helper.make_tensor_value_info("log_probability", TensorProto.FLOAT, ["batch", 2]),
        ],
        [
            helper.make_tensor("tenth", TensorProto.FLOAT, [], [0.1]),
            helper.make_tensor("two", TensorProto.INT64, [1], [2]),
            numpy_helper.from_array(sentences.astype(np.int32), "sentences"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
