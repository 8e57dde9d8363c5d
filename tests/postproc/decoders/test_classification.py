"""Scores and best classes against their definitions, and outputs that are not what the manifest says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cvserve.artifact import ClassificationPostproc, FileEntry, Graph, Manifest, OutputSpec, PreprocSpec, Quantization
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.postproc import Options, class_scores, decode_classification, decode_outputs
from cvserve.preproc import Geometry

GEOMETRY = Geometry(10, 10)


def manifest(
    role: str = "probabilities",
    *,
    labels: int = 3,
    activation: str = "none",
    quantization: Quantization | None = None,
    task: str = "classification",
    top_k: int = 5,
) -> Manifest:
    return Manifest(
        name="model",
        version=1,
        task=task,  # type: ignore[arg-type]
        labels=tuple(f"class {index}" for index in range(labels)),
        preproc=PreprocSpec(height=8, width=8),
        outputs=(OutputSpec(name="out", role=role, quantization=quantization),),
        postproc=ClassificationPostproc(top_k=top_k, activation=activation),  # type: ignore[arg-type]
        graphs=(Graph(format="onnx", files=(FileEntry(path="model.onnx", bytes=1, sha256="0" * 64),)),),
    )


def test_probabilities_are_taken_as_they_are() -> None:
    scores = np.array([[0.1, 0.2, 0.7], [1, 0, 0]], np.float32)
    assert np.shares_memory(class_scores({"out": scores, "other": scores}, manifest()), scores)
    # An activation is for logits only.
    assert np.array_equal(class_scores({"out": scores}, manifest(activation="softmax")), scores)
    for dtype in (np.float16, np.float64):
        result = class_scores({"out": scores.astype(dtype)}, manifest())
        assert result.dtype == np.float32
        assert np.allclose(result, scores, atol=1e-3)


def test_quantized_probabilities() -> None:
    stored = np.array([[-128, 0, 127]], np.int8)
    scores = class_scores({"out": stored}, manifest(quantization=Quantization(scale=1 / 256, zero_point=-128)))
    assert scores.dtype == np.float32
    assert scores.tolist() == [[0, 0.5, 255 / 256]]


def test_quantized_logits_are_dequantised_before_the_softmax() -> None:
    stored = np.array([[10, 12, 14]], np.uint8)
    scores = class_scores(
        {"out": stored}, manifest("logits", activation="softmax", quantization=Quantization(scale=0.5, zero_point=10))
    )
    total = 1 + math.e + math.e**2
    assert scores[0].tolist() == pytest.approx([1 / total, math.e / total, math.e**2 / total])


@given(arrays(np.float32, (2, 3), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
@pytest.mark.filterwarnings("error")
def test_softmax_and_sigmoid_of_any_logits(logits: np.ndarray) -> None:
    softmax = class_scores({"out": logits}, manifest("logits", activation="softmax"))
    sigmoid = class_scores({"out": logits}, manifest("logits", activation="sigmoid"))
    for scores in (softmax, sigmoid):
        assert scores.dtype == np.float32
        assert ((scores >= 0) & (scores <= 1)).all()
    assert softmax.sum(axis=1) == pytest.approx(1, abs=1e-6)
    for row, soft, sigmoids in zip(logits.tolist(), softmax, sigmoid, strict=True):
        top = max(row)
        exponentials = [math.exp(value - top) for value in row]
        assert soft == pytest.approx([value / sum(exponentials) for value in exponentials], abs=1e-6)
        expected = [1 / (1 + math.exp(-value)) if value > -700 else 0.0 for value in row]
        assert sigmoids == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 1, 1, 3), (2, 3, 1, 1), (2, 3)])
def test_pooled_outputs_may_keep_their_empty_axes(shape: tuple[int, ...]) -> None:
    scores = np.arange(6, dtype=np.float32).reshape(shape) / 10
    assert class_scores({"out": scores}, manifest()).tolist() == scores.reshape(2, 3).tolist()


@pytest.mark.parametrize("shape", [(2, 4), (3,), (2, 3, 3), (), (2, 5, 3)])
def test_another_shape_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArtifactError, match=r"model: output 'out' has shape .*, which is not \[batch, 3\]"):
        class_scores({"out": np.zeros(shape, np.float32)}, manifest())


def test_a_missing_output_is_named() -> None:
    with pytest.raises(ArtifactError, match=r"model: the graph has no output 'out', only \['a', 'b'\]"):
        class_scores({"b": np.zeros((1, 3)), "a": np.zeros((1, 3))}, manifest())


@given(arrays(np.float32, (3, 7), elements=st.sampled_from([0, 0.1, 0.25, 0.5, 1])), st.integers(1, 10))
def test_best_classes_as_python_sorts_them(scores: np.ndarray, top_k: int) -> None:
    labels = tuple("abcdefg")
    results = decode_classification(scores, labels, top_k)
    for row, result in zip(scores.tolist(), results, strict=True):
        expected = sorted(range(7), key=lambda index: (-row[index], index))[:top_k]
        assert [item.index for item in result.classes] == expected
        assert [item.label for item in result.classes] == [labels[index] for index in expected]
        assert [item.score for item in result.classes] == [row[index] for index in expected]


def test_top_k_from_the_request_or_the_manifest() -> None:
    outputs = {"out": np.array([[0.2, 0.5, 0.3]], np.float32)}
    for top_k, default, expected in [(None, 2, 2), (1, 2, 1), (None, 5, 3), (9, 2, 3)]:
        (result,) = decode_outputs(outputs, [GEOMETRY], manifest(top_k=default), Options(top_k))
        assert [item["label"] for item in result.to_dict()["classes"]] == ["class 1", "class 2", "class 0"][:expected]
    for top_k in (0, -1):
        with pytest.raises(InvalidInput, match=f"top_k must be at least 1, not {top_k}"):
            decode_outputs(outputs, [GEOMETRY], manifest(), Options(top_k))


def test_one_result_per_image() -> None:
    outputs = {"out": np.eye(3, dtype=np.float32)}
    results = decode_outputs(outputs, [GEOMETRY] * 3, manifest())
    assert [result.to_dict()["classes"][0]["index"] for result in results] == [0, 1, 2]
    with pytest.raises(InvalidInput, match="the graph answered for 3 images, 2 were given"):
        decode_outputs(outputs, [GEOMETRY] * 2, manifest())
    assert decode_outputs({"out": np.zeros((0, 3), np.float32)}, [], manifest()) == []


def test_scores_that_are_nan_are_an_error() -> None:
    with pytest.raises(ArtifactError, match="NaN"):
        decode_outputs({"out": np.array([[0, np.nan, 1]], np.float32)}, [GEOMETRY], manifest())
