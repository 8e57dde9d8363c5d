"""Segmentation networks to artifacts: parity on pixels, one byte a pixel in every format."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_segmenter import COLORS, LABELS, PREPROC, make_images, make_segmenter

from cvserve import artifact as artifacts
from cvserve.artifact import Artifact, PreprocSpec, SegmentationParity, SegmentationPostproc
from cvserve.errors import ExportError, InvalidInput
from cvserve.export.task_export import TASK_EXPORTS
from cvserve.pipeline import Pipeline
from cvserve.preproc.geometry import plan
from cvserve.runtimes import open_graph

pytestmark = pytest.mark.slow


def export(to: Path, model: Any, **options: Any) -> Artifact:
    from cvserve.export import export_model

    values = {
        "task": "segmentation",
        "labels": LABELS,
        "preproc": PREPROC,
        "postproc": SegmentationPostproc(colors=COLORS),
        "parity_images": make_images(9),
    }
    return export_model(model, to, **(values | options))


@pytest.fixture(scope="module")
def model() -> Any:
    return make_segmenter()


@pytest.fixture(scope="module")
def exported(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    images = make_images(9)
    ground_truth = [np.asarray(values) for values in model(images, training=False)["class_map"]]
    return export(
        tmp_path_factory.mktemp("repository") / "streets", model, parity_images=images, ground_truth=ground_truth
    )


def test_parity_is_measured_on_pixels(exported: Artifact) -> None:
    read = artifacts.read(exported.directory).manifest
    assert read.task == "segmentation"
    assert {output.role: (output.dtype, output.shape) for output in read.outputs} == {
        "class_map": ("uint8", (48, 64)),
        "confidence": ("float32", (48, 64)),
    }
    assert read.postproc.colors == COLORS
    assert [graph.format for graph in read.graphs] == ["saved_model", "onnx", "tflite"]
    for graph in read.graphs:
        parity = graph.parity
        assert parity is not None
        assert parity.holds
        assert parity.max_abs_difference < 1e-5
        assert (parity.images, parity.agreement, parity.limit) == (9, 1.0, 1e-4)
        assert isinstance(parity, SegmentationParity)
        assert parity.pixel_agreement_limit == 0.999
        assert parity.pixel_agreement is not None
        assert parity.miou is not None
        assert parity.miou_difference is not None
        assert parity.pixel_agreement >= 0.9999
        assert parity.miou >= 0.9999
        assert parity.miou_difference <= 1e-4
        assert graph.detect is None
    encoded = read.graphs[0].encoded
    assert encoded is not None
    assert isinstance(encoded.parity, SegmentationParity)
    assert encoded.parity.pixel_agreement is not None
    assert encoded.parity.pixel_agreement > 0.99


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("graph_format", ["saved_model", "onnx", "tflite"])
def test_one_byte_a_pixel_in_every_format(exported: Artifact, model: Any, graph_format: str, batch: int) -> None:
    [graph] = [graph for graph in exported.manifest.graphs if graph.format == graph_format]
    images = make_images(batch, seed=7)
    runtime = open_graph(exported.directory / graph.path, graph_format)
    try:
        answers = runtime.run({"images": images})
    finally:
        runtime.close()
    wanted = {name: np.asarray(values) for name, values in model(images, training=False).items()}
    assert {name: (values.dtype.name, values.shape) for name, values in answers.items()} == {
        "class_map": ("uint8", (batch, 48, 64)),
        "confidence": ("float32", (batch, 48, 64)),
    }
    assert len(np.unique(answers["class_map"])) > 2
    assert (answers["class_map"] == wanted["class_map"]).mean() >= 0.9999
    np.testing.assert_allclose(answers["confidence"], wanted["confidence"], atol=1e-5)


def test_the_pipelines_of_all_runtimes_agree(exported: Artifact) -> None:
    images = [*make_images(2, seed=9), make_images(1, seed=4)[0][:20].repeat(3, axis=1)]
    results = []
    for runtime in ("tensorflow", "onnx", "litert"):
        with Pipeline.load(exported.directory, runtime=runtime, threads=1) as pipeline:
            results.append(pipeline(images))
    for found in zip(*results, strict=True):
        for other in found[1:]:
            assert found[0].class_map.shape == other.class_map.shape
            assert (found[0].class_map == other.class_map).mean() >= 0.999
            np.testing.assert_allclose(found[0].confidence, other.confidence, atol=1e-3)
        assert found[0].colors == COLORS


@pytest.mark.parametrize("name", ["class_map", "confidence"])
def test_another_graph_is_refused(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from cvserve.export import network as networks

    honest = networks.Network.answers

    def shifted(self: Any, images: np.ndarray, batch_size: int = 8) -> dict[str, np.ndarray]:
        answers = honest(self, images, batch_size)
        if name == "confidence":
            return answers | {"confidence": answers["confidence"] - 2e-4}
        changed = answers["class_map"].copy()
        changed[3, :2] = (changed[3, :2] + 1) % len(LABELS)
        return answers | {"class_map": changed}

    monkeypatch.setattr(networks.Network, "answers", shifted)
    text = {
        "confidence": r"onnx graph answers differently: the confidence of a pixel of .* limit 0.0001",
        # 128 of 9 x 3072 pixels.
        "class_map": r"onnx graph answers differently: 0\.46% of the pixels have another class .*\(limit 0\.1%\), the "
        "first time in parity image 3; nothing was published",
    }[name]
    with pytest.raises(ExportError, match=text):
        export(tmp_path / "bad", model, formats=["onnx"])
    assert not list((tmp_path / "bad").glob("*"))


def test_what_cannot_be_exported(model: Any, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    with pytest.raises(InvalidInput, match="2 labels do not fit a network that answers with class 3"):
        export(tmp_path / "a", model, labels=LABELS[:2], postproc=None)
    with pytest.raises(InvalidInput, match="3 colours do not fit 4 labels"):
        export(tmp_path / "a", model, postproc=SegmentationPostproc(colors=COLORS[:3]))
    alone = keras.Model(model.input, {"class_map": model.output["class_map"]})
    with pytest.raises(InvalidInput, match="needs the outputs class_map and confidence; this one has class_map"):
        export(tmp_path / "a", alone)
    floats = {"class_map": model.output["confidence"], "confidence": model.output["confidence"]}
    with pytest.raises(InvalidInput, match="a class map has one byte a pixel, but 'class_map' is float32"):
        export(tmp_path / "a", keras.Model(model.input, floats))


@pytest.mark.parametrize(("name", "ties"), [("segnet", True), ("deconvnet", True), ("unet", False)])
def test_networks_that_unpool_say_that_ties_decide(name: str, ties: bool) -> None:
    from cvserve.export.network import Network
    from cvserve.models import create_model

    spec = PreprocSpec(height=32, width=32, resize="exact")
    widths = {"width": 4} | ({"backbone_options": {"width": 4}} if name == "unet" else {})
    model = create_model("segmentation", name, num_classes=3, image_size=32, **widths)
    assert Network(model, spec).ties is ties


def test_the_report_shows_pixels(exported: Artifact) -> None:
    from cvserve.export import report_table

    table = report_table(exported.manifest)
    for word in ("pixels", "mIoU differs", "1.00000", "saved_model (bytes)"):
        assert word in table


@pytest.mark.parametrize(
    ("mode", "height", "width"), [("letterbox", 30, 30), ("exact", 40, 15), ("short_side", 20, 20)]
)
def test_labels_go_into_the_graphs_input_where_the_image_does(mode: str, height: int, width: int) -> None:
    """20 x 30 blocks of 8 pixels, each shrunk to one; padding is void."""
    blocks = np.random.default_rng(0).integers(0, 200, (20, 30), np.uint8)
    if mode == "exact":
        blocks[:, 1::2] = blocks[:, ::2]
    mask = blocks.repeat(8, axis=0).repeat(8, axis=1)
    spec = PreprocSpec.model_validate({"height": height, "width": width, "resize": mode})
    dataset = SimpleNamespace(mask=[mask].__getitem__)
    labels = TASK_EXPORTS["segmentation"].ground_truth(dataset, 0, plan(240, 160, spec).geometry(240, 160), spec)
    wanted = {
        "letterbox": np.pad(blocks, ((5, 5), (0, 0)), constant_values=255),
        "exact": blocks[:, ::2].repeat(2, axis=0),
        "short_side": blocks[:, 5:25],
    }[mode]
    assert np.array_equal(labels, wanted)
