"""The manifest: what it refuses, and that it survives the way to disk and back."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cvserve.artifact import (
    BoxCoding,
    BoxLevel,
    ClassificationParity,
    ClassificationPostproc,
    DetectionPostproc,
    FileEntry,
    Graph,
    InputSpec,
    Manifest,
    OutputSpec,
    PreprocSpec,
    Quantization,
    SegmentationParity,
    SegmentationPostproc,
)

HASH = "0" * 64


def graph(path: str = "model.onnx", **values: Any) -> Graph:
    return Graph(format="onnx", files=(FileEntry(path=path, bytes=3, sha256=HASH),), **values)


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "name": "flowers",
        "version": 1,
        "task": "classification",
        "labels": ("daisy", "rose"),
        "preproc": PreprocSpec(height=8, width=8),
        "outputs": (OutputSpec(name="probabilities", role="probabilities", shape=(2,)),),
        "graphs": (graph(),),
    }
    return Manifest(**{**values, **changes})


def test_a_manifest_survives_json() -> None:
    full = manifest(
        input=InputSpec(
            name="x", dtype="int8", layout="NCHW", mean=(1, 2, 3), quantization=Quantization(scale=0.5, zero_point=-3)
        ),
        graphs=(
            graph(
                parity=ClassificationParity(images=9, max_abs_difference=1e-6, agreement=1, limit=1e-4),
                latency_ms={"1": 2.5},
                batch=1,
            ),
        ),
        preproc=PreprocSpec(height=8, width=9, resize="letterbox", fill=(1, 2, 3)),
    )
    assert Manifest.model_validate_json(full.model_dump_json()) == full


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../other/model.onnx", "a/../../b", "", "a\\b", "variables/../../x", ".."]
)
def test_a_file_outside_the_directory_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match=r"would leave the model's directory"):
        FileEntry(path=path, bytes=1, sha256=HASH)


@pytest.mark.parametrize("path", ["model.onnx", "variables/variables.index", "a..b"])
def test_a_file_may_be_anywhere_inside_the_directory(path: str) -> None:
    assert FileEntry(path=path, bytes=1, sha256=HASH).path == path


def test_logits_beside_probabilities_need_no_activation() -> None:
    both = tuple(OutputSpec(name=role, role=role, shape=(2,)) for role in ("logits", "probabilities"))
    assert manifest(outputs=both).postproc.activation == "none"
    with pytest.raises(ValidationError, match=r"holds logits: postproc\.activation must be"):
        manifest(outputs=both[:1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ()}, "needs labels"),
        ({"outputs": (OutputSpec(name="boxes", role="box_offsets"),)}, "role probabilities or logits"),
        ({"labels": ("a", "b", "c")}, "3 labels for the 2 classes"),
        ({"name": "../flowers"}, "String should match pattern"),
        ({"name": ".hidden"}, "String should match pattern"),
        ({"name": "a/b"}, "String should match pattern"),
        ({"version": 0}, "greater than or equal to 1"),
        ({"graphs": ()}, "at least 1 item"),
        ({"schema_version": 3}, "Input should be 2"),
        ({"task": "divination"}, "'divination' is not a task; it is one of captioning, classification"),
        ({"postproc": SegmentationPostproc()}, "postproc is of segmentation, but the model is of classification"),
        ({"postproc": {"task": "segmentation"}}, "postproc is of segmentation, but the model is of classification"),
        ({"postproc": {"task": "divination"}}, "'divination' is not a task"),
        ({"postproc": {"task": "classification", "boxes": None}}, "boxes: Extra inputs are not permitted"),
        (
            {"graphs": (graph(parity=SegmentationParity(images=1, max_abs_difference=0.0, agreement=1.0, limit=0.0)),)},
            "a parity is of segmentation, but the model is of classification",
        ),
        ({"colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        manifest(**changes)


def test_an_output_of_unknown_width_is_taken() -> None:
    assert manifest(outputs=(OutputSpec(name="p", role="probabilities", shape=(None,)),)).outputs[0].name == "p"


def test_logits_need_an_activation() -> None:
    logits = (OutputSpec(name="l", role="logits"),)
    with pytest.raises(ValidationError, match="activation must be softmax or sigmoid"):
        manifest(outputs=logits)
    assert manifest(outputs=logits, postproc=ClassificationPostproc(activation="softmax")).output("logits") is not None


def test_a_graph_is_usable_while_its_parity_holds() -> None:
    def with_difference(value: float) -> Graph:
        return graph(parity=ClassificationParity(images=1, max_abs_difference=value, agreement=1, limit=1e-4))

    assert with_difference(1e-4).usable
    assert not with_difference(1.1e-4).usable
    assert not with_difference(float("nan")).usable
    assert graph().usable


def segmentation(**changes: Any) -> Manifest:
    outputs = tuple(OutputSpec(name=role, role=role) for role in ("class_map", "confidence"))
    return manifest(**{"task": "segmentation", "outputs": outputs, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ()}, "a segmentation model needs labels"),
        ({"labels": tuple(map(str, range(256)))}, "too little for 256 labels"),
        ({"outputs": (OutputSpec(name="a", role="class_map"),)}, "needs an output of role confidence"),
        ({"outputs": (OutputSpec(name="a", role="confidence"),)}, "needs an output of role class_map"),
        ({"postproc": SegmentationPostproc(colors=((1, 2, 3),))}, "1 colours do not fit 2 labels"),
    ],
)
def test_invalid_segmentation_models_are_refused(changes: dict[str, Any], message: str) -> None:
    assert segmentation().task == "segmentation"
    with pytest.raises(ValidationError, match=message):
        segmentation(**changes)


def test_all_files_names_each_once() -> None:
    shared = FileEntry(path="labels.txt", bytes=1, sha256=HASH)
    both = manifest(graphs=(graph("a.onnx"), graph("b.onnx"), graph("a.onnx")), extra_files=(shared, shared))
    assert [file.path for file in both.all_files] == ["a.onnx", "b.onnx", "labels.txt"]


def test_specs_never_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PreprocSpec(height=8, width=8).height = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"short_side": 9, "resize": "exact"}, "only used with resize 'short_side'"),
        ({"fill": (0, 0, 256)}, "values from 0 to 255"),
        ({"height": 0}, "greater than 0"),
    ],
)
def test_invalid_preprocessing_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PreprocSpec(**{"height": 8, "width": 8, **values})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, True),
        ({"dtype": "float32"}, False),
        ({"layout": "NCHW"}, False),
        ({"channels": "BGR"}, False),
        ({"scale": 0.5}, False),
        ({"mean": (0, 0, 1)}, False),
        ({"std": (1, 2, 1)}, False),
        ({"quantization": Quantization(scale=1, zero_point=0)}, False),
    ],
)
def test_which_graphs_take_pixels_as_they_are(values: dict[str, Any], expected: bool) -> None:
    assert InputSpec(**values).is_pixels is expected


class TestObjectsOfTheGraph:
    """Detection whose graph suppresses itself, with or without masks."""

    OUTPUTS = tuple(OutputSpec(name=name, role=name) for name in ("boxes", "scores", "classes", "masks"))

    def made(self, **changes: Any) -> Manifest:
        values = {
            "task": "detection",
            "outputs": self.OUTPUTS,
            "postproc": DetectionPostproc(boxes=BoxCoding(kind="boxes")),
        }
        return manifest(**{**values, **changes})

    def test_masks_are_recognised_by_their_output(self) -> None:
        assert self.made().has_masks
        assert not self.made(outputs=self.OUTPUTS[:3]).has_masks

    def test_missing_outputs_are_refused(self) -> None:
        with pytest.raises(ValidationError, match=r"boxes: Field required"):
            self.made(postproc={"task": "detection"})
        with pytest.raises(ValidationError, match="needs an output of role classes"):
            self.made(outputs=(*self.OUTPUTS[:2], self.OUTPUTS[3]))
        with pytest.raises(ValidationError, match="have no levels"):
            BoxCoding(kind="boxes", levels=(BoxLevel(rows=2, columns=2),))

    def test_masks_of_boxes_that_are_not_suppressed(self) -> None:
        raw = tuple(OutputSpec(name=name, role=name) for name in ("box_offsets", "class_logits", "proposals", "masks"))
        with pytest.raises(ValidationError, match="masks are of boxes that the graph has suppressed"):
            self.made(outputs=raw, postproc=DetectionPostproc(boxes=BoxCoding(kind="deltas"), activation="softmax"))
