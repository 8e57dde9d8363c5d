"""Raw heads to objects, against a decoder in loops and against worked examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.artifact import (
    BoxCoding,
    BoxLevel,
    DetectionPostproc,
    Graph,
    Manifest,
    OutputSpec,
    PreprocSpec,
    Quantization,
)
from cvserve.artifact.graphs import FileEntry
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.postproc import DetectionResult, NetworkContract, Options, decode_outputs
from cvserve.postproc.boxes import decode_boxes, iou_matrix
from cvserve.postproc.decoders.detection import decode_detection, decode_detection_arrays
from cvserve.preproc.geometry import Geometry, resize

HEIGHT, WIDTH = 48, 64
LABELS = ("cat", "dog", "bird")
GRIDS = tuple(BoxLevel(rows=rows, columns=columns) for rows, columns in ((6, 8), (3, 4)))
CODINGS = {
    "distances": BoxCoding(kind="distances", levels=GRIDS),
    "grid": BoxCoding(kind="grid", levels=GRIDS[:1], boxes_per_cell=2),
    "deltas": BoxCoding(
        kind="deltas",
        levels=(BoxLevel(rows=6, columns=8, anchors=((12.0, 16.0), (20.0, 9.0))),),
        variances=(0.1, 0.1, 0.2, 0.2),
    ),
    "proposals": BoxCoding(kind="deltas"),
}
GEOMETRY = Geometry(WIDTH, HEIGHT)


def spec(kind: str = "distances", activation: str = "sigmoid", **options: Any) -> DetectionPostproc:
    return DetectionPostproc.model_validate({"activation": activation, "boxes": CODINGS[kind]} | options)


def random_outputs(
    rng: np.random.Generator, kind: str, activation: str, batch: int = 1, objectness: bool = False, each: bool = False
) -> dict[str, np.ndarray]:
    count = CODINGS[kind].boxes or 40
    shape = (batch, count, len(LABELS), 4) if each else (batch, count, 4)
    outputs = {
        "box_offsets": np.abs(rng.normal(0.4, 0.5, shape)),
        "class_logits": rng.normal(-1.5, 2, (batch, count, len(LABELS) + (activation == "softmax"))),
    }
    if objectness:
        outputs["objectness"] = rng.normal(1, 2, (batch, count))
    if kind == "proposals":
        corners = rng.uniform(0, 30, (batch, count, 2))
        outputs["proposals"] = np.concatenate([corners, corners + rng.uniform(2, 30, corners.shape)], axis=-1)
        outputs["proposals"][:, -5:] = 0  # padding
    return {role: values.astype(np.float32) for role, values in outputs.items()}


def brute_force(
    outputs: dict[str, np.ndarray], index: int, postproc: DetectionPostproc
) -> list[tuple[list[float], float, int]]:
    """(box, score, class) of one image: every score, every box, one rule after the other."""
    assert postproc.boxes is not None
    found = []
    logits = outputs["class_logits"][index].astype(np.float64)
    for number, row in enumerate(logits):
        softmax = postproc.activation == "softmax"
        scores = (np.exp(row) / np.exp(row).sum())[1:] if softmax else 1 / (1 + np.exp(-row))
        if "objectness" in outputs:
            scores = scores / (1 + np.exp(-float(outputs["objectness"][index].reshape(-1)[number])))
        for label, score in enumerate(scores):
            offsets = outputs["box_offsets"][index]
            if offsets.ndim == 3:
                offsets = offsets[:, label]
            proposals = outputs["proposals"][index] if "proposals" in outputs else None
            box = decode_boxes(offsets, postproc.boxes, HEIGHT, WIDTH, proposals)[number]
            if score >= postproc.score_threshold:
                found.append((np.clip(box, 0, [WIDTH, HEIGHT] * 2), float(score), label))
    found.sort(key=lambda item: -item[1])
    found = found[: postproc.max_candidates]
    kept: list[tuple[np.ndarray, float, int]] = []
    for box, score, label in found:
        if box[2] <= box[0] or box[3] <= box[1]:
            continue
        rivals = [other for other, _, other_label in kept if other_label == label]
        if all(iou_matrix(box, other)[0, 0] <= postproc.iou_threshold for other in rivals):
            kept.append((box, score, label))
    return [(box.tolist(), score, label) for box, score, label in kept[: postproc.max_results]]


# The same examples each time: in one of many, two scores differ by less than float32 can tell.
@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(list(CODINGS)),
    st.sampled_from(["sigmoid", "softmax"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.01, 0.3, 0.7]),
    st.sampled_from([0.3, 0.61]),
    st.sampled_from([(5, 3), (40, 10), (1000, 100)]),
)
def test_equals_loops(
    seed: int,
    kind: str,
    activation: str,
    objectness: bool,
    each: bool,
    threshold: float,
    overlap: float,
    most: tuple[int, int],
) -> None:
    outputs = random_outputs(np.random.default_rng(seed), kind, activation, 2, objectness, each)
    postproc = spec(
        kind,
        activation,
        score_threshold=threshold,
        iou_threshold=overlap,
        max_candidates=most[0],
        max_results=most[1],
    )
    found = decode_detection_arrays(outputs, postproc, HEIGHT, WIDTH)
    assert len(found) == 2
    for index, (boxes, scores, classes, _) in enumerate(found):
        expected = brute_force(outputs, index, postproc)
        assert (boxes.dtype, scores.dtype, classes.dtype) == (np.float32, np.float32, np.int32)
        assert classes.tolist() == [label for _, _, label in expected]
        np.testing.assert_allclose(scores, [score for _, score, _ in expected], rtol=1e-4)
        np.testing.assert_allclose(boxes, np.array([box for box, _, _ in expected]).reshape(-1, 4), atol=1e-3)


def test_a_batch_is_its_images() -> None:
    outputs = random_outputs(np.random.default_rng(0), "distances", "sigmoid", 3)
    together = decode_detection_arrays(outputs, spec(), HEIGHT, WIDTH)
    for index, found in enumerate(together):
        alone = decode_detection_arrays(
            {role: values[index : index + 1] for role, values in outputs.items()}, spec(), HEIGHT, WIDTH
        )
        assert all(np.array_equal(*pair) for pair in zip(found, alone[0], strict=True))
    nothing = {role: values[:0] for role, values in outputs.items()}
    assert decode_detection_arrays(nothing, spec(), HEIGHT, WIDTH) == []


def test_a_request_changes_the_thresholds() -> None:
    outputs = random_outputs(np.random.default_rng(0), "distances", "sigmoid")

    def count(**options: Any) -> int:
        return len(decode_detection_arrays(outputs, spec(), HEIGHT, WIDTH, **options)[0][0])

    assert count(max_results=3) == 3
    assert 3 < count() < count(score_threshold=0.01)
    assert count(score_threshold=1.0) == 0
    assert count(iou_threshold=0.1) < count(iou_threshold=0.9)


def heads(*objects: tuple[int, int, float]) -> dict[str, np.ndarray]:
    """Outputs in which (cell, class, logit) alone stand out, boxes as large as their cells."""
    outputs = {
        "box_offsets": np.full((1, 60, 4), 0.5, np.float32),
        "class_logits": np.full((1, 60, 3), -9.0, np.float32),
    }
    for cell, label, logit in objects:
        outputs["class_logits"][0, cell, label] = logit
    return outputs


def contract(**options: Any) -> NetworkContract:
    preproc = PreprocSpec(height=HEIGHT, width=WIDTH, resize="letterbox")
    roles = ("box_offsets", "class_logits")
    return NetworkContract.of("toy", "detection", LABELS, preproc, spec(**options), roles)


def test_boxes_in_the_original_image() -> None:
    # An image of 100 x 40 becomes 64 x 26, 11 pixels from the top.
    image = np.zeros((40, 100, 3), np.uint8)
    _, geometry = resize(image, contract().preproc)
    # Cells of 8 x 8 pixels: (row 2, column 3), (row 1, column 0, cut by the image's edge), (row 0: all padding).
    outputs = heads((2 * 8 + 3, 1, 3.0), (8, 2, 2.0), (4, 0, 4.0))
    [result] = decode_detection(outputs, [geometry], contract())
    assert (result.image_width, result.image_height, result.names) == (100, 40, LABELS)
    assert result.indexes.tolist() == [1, 2]
    np.testing.assert_allclose(result.scores, 1 / (1 + np.exp(-np.array([3.0, 2.0]))), rtol=1e-6)
    scale = geometry.scale_y
    np.testing.assert_allclose(
        result.boxes,
        [[37.5, (16 - 11) / scale, 50, (24 - 11) / scale], [0, 0, 12.5, (16 - 11) / scale]],
        rtol=1e-5,
    )
    row = result.to_dict()
    assert (row["width"], row["height"]) == (100, 40)
    assert row["detections"][0]["label"] == "dog"


def test_ties_are_in_the_order_of_the_boxes() -> None:
    outputs = heads((9, 0, 2.0), (3, 0, 2.0), (3, 2, 2.0), (40, 1, 2.0))
    [result] = decode_detection(outputs, [GEOMETRY], contract())
    assert result.indexes.tolist() == [0, 2, 0, 1]
    assert result.boxes[:, 0].tolist() == [24, 24, 8, 0]


def manifest(*, quantized: bool = False, **options: Any) -> Manifest:
    stored = {
        "box_offsets": Quantization(scale=0.5, zero_point=1),
        "class_logits": Quantization(scale=0.25, zero_point=20),
    }
    return Manifest.model_validate(
        {
            "name": "toy",
            "version": 1,
            "task": "detection",
            "labels": LABELS,
            "preproc": PreprocSpec(height=HEIGHT, width=WIDTH, resize="exact"),
            "postproc": spec(),
            "outputs": tuple(
                OutputSpec(name=f"out_{role}", role=role, quantization=stored[role] if quantized else None)
                for role in stored
            ),
            "graphs": (Graph(format="onnx", files=(FileEntry(path="m.onnx", bytes=0, sha256="0" * 64),)),),
            **options,
        }
    )


def test_integers_are_dequantised() -> None:
    real = heads((5, 1, 2.25), (20, 0, 1.0))
    stored = {
        "out_box_offsets": (real["box_offsets"] / 0.5 + 1).astype(np.int8),
        "out_class_logits": (real["class_logits"] / 0.25 + 20).astype(np.int8),
    }
    [integers] = decode_outputs(stored, [GEOMETRY], manifest(quantized=True))
    named = {f"out_{role}": values for role, values in real.items()}
    [floats] = decode_outputs(named, [GEOMETRY], manifest())
    assert isinstance(integers, DetectionResult)
    assert len(integers) == 2
    assert integers == floats
    [halves] = decode_outputs({name: item.astype(np.float16) for name, item in named.items()}, [GEOMETRY], manifest())
    assert halves == floats


def test_options_are_checked_once_for_all() -> None:
    outputs = {f"out_{role}": values for role, values in heads((5, 1, 2.25), (20, 0, 1.0)).items()}

    def ask(**options: Any) -> Any:
        return decode_outputs(outputs, [GEOMETRY], manifest(), Options(**options))[0]

    assert len(ask(score_threshold=0.8)) == 1
    assert len(ask(max_results=1)) == 1
    for options, sentence in (
        ({"score_threshold": 1.5}, "score_threshold must be from 0 to 1, not 1.5"),
        ({"score_threshold": -0.1}, "score_threshold must be from 0 to 1, not -0.1"),
        ({"score_threshold": float("nan")}, "score_threshold must be from 0 to 1, not nan"),
        ({"max_results": 0}, "max_results must be at least 1, not 0"),
        ({"top_k": 0}, "top_k must be at least 1, not 0"),
    ):
        with pytest.raises(InvalidInput, match=f"^{sentence}$"):
            ask(**options)
    with pytest.raises(InvalidInput, match="answered for 1 images, 2 were given"):
        decode_outputs(outputs, [GEOMETRY] * 2, manifest())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"class_logits": np.full((1, 60, 3), np.nan, np.float32)}, "scores that are not numbers"),
        ({"box_offsets": np.full((1, 60, 4), np.nan, np.float32)}, "boxes that are not numbers"),
        ({"class_logits": np.zeros((1, 60, 4), np.float32)}, r"\[1, 60, 4\], which is not \[batch, boxes, 3\]"),
        ({"class_logits": np.zeros((1, 59, 3), np.float32)}, "do not fit"),
        ({"box_offsets": np.zeros((1, 60, 2, 4), np.float32)}, "do not fit 3 classes"),
        (
            {"box_offsets": np.zeros((1, 61, 4), np.float32), "class_logits": np.zeros((1, 61, 3), np.float32)},
            "the graph gave 61 boxes, its box coding has 60",
        ),
        ({"objectness": np.zeros((1, 6), np.float32)}, r"objectness \[1, 6\] do not fit"),
    ],
)
def test_outputs_that_contradict_the_manifest(change: dict[str, np.ndarray], sentence: str) -> None:
    outputs = heads((5, 1, 2.0)) | change
    with pytest.raises(ArtifactError, match=sentence):
        decode_detection(
            outputs,
            [GEOMETRY],
            NetworkContract.of("toy", "detection", LABELS, contract().preproc, spec(), outputs),
        )


def test_a_missing_output_is_named() -> None:
    with pytest.raises(ArtifactError, match="toy: the graph has no output 'class_logits', only"):
        decode_detection({"box_offsets": np.zeros((1, 60, 4))}, [GEOMETRY], contract())
    with pytest.raises(ArtifactError, match="needs outputs of roles box_offsets and class_logits"):
        decode_detection_arrays({"box_offsets": np.zeros((1, 60, 4))}, spec(), HEIGHT, WIDTH)
