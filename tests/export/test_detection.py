"""Detectors to artifacts: parity on boxes, and the signature that decodes in the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_detector import LABELS, PREPROC, make_detector, make_images, postproc

from cvserve import artifact as artifacts
from cvserve.artifact import Artifact
from cvserve.errors import ExportError, InvalidInput
from cvserve.export.detect_signature import detect_spec
from cvserve.postproc.decoders.detection import decode_detection_arrays
from cvserve.runtimes import open_graph

pytestmark = pytest.mark.slow

FOUND = ("boxes", "scores", "classes")


def export(to: Path, model: Any, spec: Any, **options: Any) -> Artifact:
    from cvserve.export import export_model

    values = {
        "task": "detection",
        "labels": LABELS,
        "preproc": PREPROC,
        "postproc": spec,
        "parity_images": make_images(9),
    }
    return export_model(model, to, **(values | options))


@pytest.fixture(scope="module")
def model() -> Any:
    return make_detector("distances")


@pytest.fixture(scope="module")
def exported(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return export(tmp_path_factory.mktemp("repository") / "animals", model, postproc("distances"))


def reference(model: Any, spec: Any, images: np.ndarray) -> list[Any]:
    outputs = {name: np.asarray(values) for name, values in model(images, training=False).items()}
    return decode_detection_arrays(outputs, detect_spec(spec), PREPROC.height, PREPROC.width)


def assert_found(answers: dict[str, np.ndarray], wanted: list[Any]) -> None:
    """The signature's answers are what postproc finds, and zeros after that."""
    assert answers["count"].tolist() == [len(item[1]) for item in wanted]
    for index, item in enumerate(wanted):
        count = len(item[1])
        for name, values in zip(FOUND, item[:3], strict=True):
            np.testing.assert_allclose(answers[name][index, :count], values, rtol=1e-4, atol=2e-4)
            assert not answers[name][index, count:].any()


def test_parity_is_measured_on_boxes(exported: Artifact) -> None:
    read = artifacts.read(exported.directory).manifest
    assert read.task == "detection"
    assert {output.role for output in read.outputs} == {"box_offsets", "class_logits"}
    for graph in read.graphs:
        parity = graph.parity
        assert parity is not None
        assert parity.holds
        assert parity.images == 9
        assert parity.objects is not None
        assert parity.objects > 20
        assert parity.max_abs_difference < 1e-5
        assert (parity.agreement, parity.unmatched) == (1.0, 0.0)
        assert parity.box_iou is not None
        assert parity.box_iou_min is not None
        assert parity.score_difference is not None
        assert parity.box_iou >= parity.box_iou_min > 0.999
        assert parity.score_difference < 1e-5
        assert parity.map_difference is None
        assert graph.detect is not None
        assert graph.detect.parity.holds
        assert graph.detect.parity.agreement == 1.0
    encoded = read.graphs[0].encoded
    assert encoded is not None
    assert encoded.parity.objects


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("graph_format", ["saved_model", "onnx", "tflite"])
def test_the_detect_signature_gives_the_boxes_of_postproc(
    exported: Artifact, model: Any, graph_format: str, batch: int
) -> None:
    [graph] = [graph for graph in exported.manifest.graphs if graph.format == graph_format]
    assert graph.detect is not None
    assert (graph.detect.file is not None) == (graph_format == "onnx")
    path = exported.directory / (graph.detect.file.path if graph.detect.file else graph.path)
    images = make_images(batch, seed=7)
    runtime = open_graph(path, graph_format, signature="detect")
    try:
        answers = runtime.run({"images": images})
    finally:
        runtime.close()
    assert {name: (values.dtype.name, values.shape[0]) for name, values in answers.items()} == {
        "boxes": ("float32", batch),
        "scores": ("float32", batch),
        "classes": ("int32", batch),
        "count": ("int32", batch),
    }
    assert_found(answers, reference(model, postproc("distances"), images))


@pytest.mark.parametrize(
    ("kind", "activation", "options", "limits"),
    [
        ("distances", "softmax", {}, {}),
        ("deltas", "sigmoid", {}, {}),
        ("deltas", "softmax", {}, {"max_results": 3}),
        ("grid", "softmax", {"objectness": True}, {"score_threshold": 0.1}),
        ("grid", "sigmoid", {"objectness": True}, {"max_candidates": 20}),
        ("proposals", "softmax", {}, {}),
        ("proposals", "softmax", {"per_class": True}, {}),
    ],
)
def test_every_coding_in_the_graph(kind: str, activation: str, options: dict[str, Any], limits: dict[str, Any]) -> None:
    """In TensorFlow itself: the formats are the same graph."""
    tf = pytest.importorskip("tensorflow")
    from cvserve.models.detection.suppression import detections

    network = make_detector(kind, activation=activation, **options)
    spec = postproc(kind, activation, **limits)
    images = make_images(5, seed=2)
    run = tf.function(lambda x: detections(network(x, training=False), spec, PREPROC.height, PREPROC.width))
    wanted = reference(network, spec, images)
    assert sum(len(item[1]) for item in wanted) > 5
    assert_found({name: np.asarray(values) for name, values in run(images).items()}, wanted)


def test_two_stages_are_compared_after_decoding(tmp_path: Path) -> None:
    network = make_detector("proposals", activation="softmax", per_class=True)
    manifest = export(tmp_path / "two", network, postproc("proposals", "softmax")).manifest
    for graph in manifest.graphs:
        assert graph.parity is not None
        assert graph.parity.holds
        assert graph.parity.limit == 1e-3
        assert graph.parity.objects
        assert graph.parity.unmatched == 0.0


def test_the_difference_in_map_where_the_ground_truth_is_known(model: Any, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    from cvserve.data.objects import Objects

    images = make_images(4)
    ground_truth = [Objects.of(item[0], item[2]) for item in reference(model, postproc("distances"), images)]
    manifest = export(
        tmp_path / "a", model, postproc("distances"), parity_images=images, ground_truth=ground_truth, formats=["onnx"]
    ).manifest
    [graph] = manifest.graphs
    assert graph.parity is not None
    assert graph.parity.map_difference is not None
    assert graph.parity.map_difference < 1e-6


def test_without_the_signature(model: Any, tmp_path: Path) -> None:
    manifest = export(
        tmp_path / "plain", model, postproc("distances"), detect_signature=False, formats=["onnx", "saved_model"]
    ).manifest
    assert [graph.detect for graph in manifest.graphs] == [None, None]
    assert not any("detect" in file.path for file in manifest.all_files)


def test_another_graph_is_refused(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvserve.export import network as networks

    honest = networks.Network.answers

    def shifted(self: Any, images: np.ndarray, batch_size: int = 8) -> dict[str, np.ndarray]:
        answers = honest(self, images, batch_size)
        return answers | {"box_offsets": answers["box_offsets"] * 1.01}

    monkeypatch.setattr(networks.Network, "answers", shifted)
    with pytest.raises(
        ExportError, match=r"exported onnx graph answers differently: an output, relative .* limit 0.0001"
    ):
        export(tmp_path / "bad", model, postproc("distances"), formats=["onnx"])
    assert not list((tmp_path / "bad").glob("*"))


def test_postproc_is_needed(model: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="a detection model needs postproc"):
        export(tmp_path / "a", model, None)


def test_a_format_that_cannot_hold_the_network(tmp_path: Path) -> None:
    keras, tf = pytest.importorskip("keras"), pytest.importorskip("tensorflow")

    class Odd(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return tf.cast(tf.bitwise.invert(tf.cast(x, tf.int32)), tf.float32)

    model = make_detector("distances")
    outputs = dict(model.output) | {"extra": Odd()(model.output["class_logits"])}
    odd = keras.Model(model.input, outputs)
    with pytest.raises(
        ExportError, match=r"ONNX cannot hold .*; to export only the others, use --formats saved_model,tflite$"
    ):
        export(tmp_path / "odd", odd, postproc("distances"))


def test_the_report_shows_boxes(exported: Artifact) -> None:
    from cvserve.export import report_table

    table = report_table(exported.manifest)
    for word in ("unmatched", "onnx (detect)", "tflite (detect)", "0.00%"):
        assert word in table
