"""Every format is proven equal before anything is published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_network import LABELS, PREPROC, make_images, make_model

import cvserve
from cvserve import artifact as artifacts
from cvserve.artifact import Artifact
from cvserve.errors import ExportError, InvalidInput
from cvserve.export import TARGETS, export_model, exporter, report_table
from cvserve.runtimes import open_runtime


def _export(model: Any, to: Path, formats: tuple[str, ...] = ("onnx",), **options: Any) -> Artifact:
    defaults: dict[str, Any] = {
        "task": "classification",
        "labels": LABELS,
        "preproc": PREPROC,
        "parity_images": make_images(4),
    }
    return export_model(model, to, formats=formats, **{**defaults, **options})


def test_the_manifest_is_complete(exported: Artifact) -> None:
    read = artifacts.read(exported.directory.parent)  # checks every hash
    manifest = read.manifest
    assert manifest == exported.manifest
    assert (manifest.name, manifest.version, manifest.labels) == ("shapes", 1, LABELS)
    assert [graph.format for graph in manifest.graphs] == ["saved_model", "onnx", "tflite"]
    assert manifest.input.is_pixels
    assert manifest.outputs[0].shape == (5,)
    assert (manifest.provenance.cvserve_version, manifest.provenance.licence) == (cvserve.__version__, "CC0")
    for graph in manifest.graphs:
        assert graph.parity is not None
        assert (graph.parity.images, graph.parity.agreement) == (12, 1.0)
        assert graph.parity.max_abs_difference < 1e-5
        assert set(graph.latency_ms) == {"1", "8"}
    files = {path.relative_to(read.directory).as_posix() for path in read.directory.rglob("*") if path.is_file()}
    assert files == {entry.path for entry in manifest.all_files} | {"manifest.json"}


def test_the_report_has_a_row_for_each_graph(exported: Artifact) -> None:
    lines = report_table(exported.manifest).splitlines()
    assert lines[0] == "shapes version 1"
    assert [line.split()[0] for line in lines[3:]] == ["saved_model", "saved_model", "onnx", "tflite"]


@pytest.mark.parametrize("runtime", ["tensorflow", "onnx", "litert"])
def test_every_runtime_answers_as_keras(exported: Artifact, model: Any, runtime: str) -> None:
    images = make_images(5, seed=77)
    got = open_runtime(exported, runtime).run({"images": images})["probabilities"]
    np.testing.assert_allclose(got, np.asarray(model(images, training=False)["probabilities"]), atol=1e-5)


@pytest.mark.parametrize("broken", ["saved_model", "onnx"])
def test_a_wrong_graph_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """A graph whose weights are slightly off, as after a writer's bug: the sentence names format, figure, image."""

    def write(network: Any, path: Path, signatures: Any) -> Any:
        other = exporter.Network(make_model(), PREPROC)
        kernel = other.model.get_layer("logits").kernel
        kernel.assign(kernel * 1.05)
        return target.writer(other, path, signatures)

    target = TARGETS[broken]
    monkeypatch.setitem(TARGETS, broken, replace(target, writer=write))
    names = [f"daisy/{number}.jpg" for number in range(4)]
    with pytest.raises(ExportError, match=rf"exported {broken} graph .* daisy/\d\.jpg is 0\.\d+ away .*limit 0.0001"):
        _export(make_model(), tmp_path / "shapes", (broken,), parity_names=names)
    assert not (tmp_path / "shapes").exists()


def test_a_failed_version_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _export(make_model(), tmp_path / "shapes")
    monkeypatch.setitem(TARGETS, "onnx", replace(TARGETS["onnx"], tolerance=-1.0))
    with pytest.raises(ExportError):
        _export(make_model(), tmp_path / "shapes")
    monkeypatch.undo()
    assert artifacts.read(tmp_path / "shapes").version == first.version == 1
    assert _export(make_model(), tmp_path / "shapes").version == 2


@pytest.mark.slow
def test_one_format_alone(tmp_path: Path) -> None:
    """TFLite is made from a SavedModel, which does not stay behind."""
    published = _export(make_model(), tmp_path / "shapes", ("tflite",))
    assert sorted(path.name for path in published.directory.iterdir()) == ["manifest.json", "model.tflite"]


def test_random_layers_are_off_in_the_graphs(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    plain = make_model()
    images = keras.Input((24, 32, 3), dtype="uint8", name="images")
    noisy = keras.layers.RandomBrightness(0.9, value_range=(0, 255))(keras.ops.cast(images, "float32"))
    rounded = keras.ops.cast(noisy, "uint8")
    model = keras.Model(images, plain(rounded))
    published = _export(model, tmp_path / "noisy", ("saved_model", "onnx"))
    images = make_images(3)
    wanted = np.asarray(plain(images, training=False)["probabilities"])
    for runtime in ("tensorflow", "onnx"):
        graph = open_runtime(published, runtime)
        for _ in range(2):
            np.testing.assert_allclose(graph.run({"images": images})["probabilities"], wanted, atol=1e-5)


def test_logits_get_a_softmax(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    plain = make_model()
    model = keras.Model(plain.input, {"logits": plain.get_layer("logits").output})
    published = _export(model, tmp_path / "shapes")
    assert published.manifest.postproc.activation == "softmax"
    both = {"logits": plain.get_layer("logits").output, "probabilities": plain.output["probabilities"]}
    manifest = _export(keras.Model(plain.input, both), tmp_path / "both").manifest
    assert (len(manifest.outputs), manifest.postproc.activation) == (2, "none")
    image = make_images(1)
    with cvserve.load(published.directory, runtime="onnx") as pipeline:
        (result,) = pipeline.finish(pipeline.runtime.run({"images": image}), [pipeline.prepare(image[0]).geometry])
    wanted = np.asarray(plain(image, training=False)["probabilities"])[0]
    assert result.best.index == wanted.argmax()
    assert result.best.score == pytest.approx(wanted.max(), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "captioning"}, "a captioning network needs the outputs token_ids and log_probability"),
        ({"task": "guessing"}, "'guessing' is not a task; it is one of captioning, classification"),
        ({"task": "detection"}, "a detection model needs postproc"),
        ({"parity_images": make_images(2, 20, 20)}, r"uint8 \[at least 1, 24, 32, 3\], not uint8 \[2, 20, 20, 3\]"),
        ({"parity_images": make_images(2)[:0]}, "at least 1"),
        ({"roles": {"probabilities": "scores"}}, "no output called probabilities or logits, only probabilities"),
        ({"labels": LABELS[:4]}, r"4 labels do not fit output 'probabilities', which is \[5\]"),
    ],
)
def test_arguments_that_cannot_be_used(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        _export(make_model(), tmp_path / "shapes", **options)
    with pytest.raises(InvalidInput, match="'pb' is not a format"):
        _export(make_model(), tmp_path / "shapes", ("pb",))


@pytest.mark.parametrize("name", ["my flowers", "-flowers", ".flowers", "blümen"])
def test_a_directory_that_cannot_name_a_model(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name a model"):
        _export(make_model(), tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_network_for_other_images(tmp_path: Path) -> None:
    preproc = PREPROC.model_copy(update={"height": 64, "short_side": None})
    with pytest.raises(ExportError, match=r"takes uint8 \[None, 24, 32, 3\], but 64 x 32"):
        _export(make_model(), tmp_path / "shapes", preproc=preproc, parity_images=make_images(2, 64, 32))
