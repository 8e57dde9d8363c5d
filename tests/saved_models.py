"""SavedModels with unusual signatures, made with TensorFlow itself: tables, strings, state, defaults, odd shapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

WORDS = ("red", "green", "blue")


def write_words(directory: Path) -> Path:
    """A TF1 graph with a table filled from an asset: strings `words` to int64 `ids` and strings `again`."""
    tf = pytest.importorskip("tensorflow").compat.v1
    vocabulary = directory.parent / f"{directory.name}-words.txt"
    vocabulary.parent.mkdir(parents=True, exist_ok=True)
    vocabulary.write_text("\n".join(WORDS))
    graph = tf.Graph()
    with graph.as_default(), tf.Session(graph=graph) as session:
        words = tf.placeholder(tf.string, [None], name="words")
        filename = tf.constant(str(vocabulary))
        tf.add_to_collection(tf.GraphKeys.ASSET_FILEPATHS, filename)
        numbers = tf.lookup.TextFileInitializer(
            filename, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        table = tf.lookup.StaticHashTable(numbers, -1)
        ids = table.lookup(words)
        again = tf.strings.join([words, tf.constant("!\xff".encode("latin1"))])
        session.run(tf.tables_initializer())
        tf.saved_model.simple_save(
            session,
            str(directory),
            inputs={"words": words},
            outputs={"ids": ids, "again": again},
            legacy_init_op=tf.tables_initializer(),
        )
    vocabulary.unlink()
    return directory


def write_kinds(directory: Path) -> Path:
    """Writes a TF2 model with a signature for each unusual kind of input or output."""
    tf = pytest.importorskip("tensorflow")

    class Kinds(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.calls = tf.Variable(0, dtype=tf.int64)
            keys, values = tf.constant(WORDS), tf.constant([5, 6, 7], tf.int64)
            self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def total(self, x: Any) -> Any:
            return {"total": tf.reduce_sum(x), "rows": x + 1.0}

        @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
        def unranked(self, x: Any) -> Any:
            return {"y": x * 2.0}

        @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="word")])
        def scalar(self, word: Any) -> Any:
            return {"upper": tf.strings.upper(word), "number": self.table.lookup(word)}

        @tf.function(input_signature=[])
        def count(self) -> Any:
            return {"calls": self.calls.assign_add(1)}

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def product(self, x: Any) -> Any:
            return {"y": tf.matmul(x, tf.ones((2, 3)))}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, name="x"),
                tf.TensorSpec([], tf.float32, name="scale"),
            ]
        )
        def scaled(self, x: Any, scale: Any) -> Any:
            return {"y": x * scale}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.bfloat16), tf.TensorSpec([None], tf.bool)])
        def rare(self, half: Any, flag: Any) -> Any:
            return {
                "half": half + half,
                "flag": tf.logical_not(flag),
                "real": tf.complex(tf.cast(half, tf.float32), 1.0),
            }

    module = Kinds()
    names = ("total", "unranked", "scalar", "count", "product", "scaled", "rare")
    tf.saved_model.save(module, str(directory), signatures={name: getattr(module, name) for name in names})
    return directory


def rewrite(directory: Path, *, defaults: Mapping[str, Mapping[str, Any]] | None = None, tags: Any = None) -> Path:
    """Changes a saved_model.pb.

    Args:
        defaults: values of inputs that may be left out, by signature.
        tags: the tags of its graph.
    """
    tf = pytest.importorskip("tensorflow")
    from tensorflow.core.protobuf import saved_model_pb2

    file = directory / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    [graph] = saved.meta_graphs
    for key, values in (defaults or {}).items():
        for alias, value in values.items():
            graph.signature_def[key].defaults[alias].CopyFrom(tf.make_tensor_proto(value))
    if tags is not None:
        graph.meta_info_def.tags[:] = tags
    file.write_bytes(saved.SerializeToString())
    return directory
