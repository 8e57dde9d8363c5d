"""A model that cvserve did not make, with a short spec, answers through the pipeline as in its own library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imported_models import LABELS, WEIGHTS, expected, softmax, write_keras, write_onnx, write_saved_model
from small_network import encode, make_images

import cvserve
from cvserve import artifact as artifacts
from cvserve.artifact import Artifact
from cvserve.errors import ArtifactError, InvalidInput, NotFound
from cvserve.export import import_model

SPEC: dict[str, Any] = {
    "task": "classification",
    "labels": list(LABELS),
    "input": {"scale": "1/255", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]},
}


def _spec(**changes: Any) -> dict[str, Any]:
    merged = {**SPEC, **changes}
    if "input" in changes:
        merged["input"] = {**SPEC["input"], **changes["input"]}
    return merged


def _check_answers(artifact: Artifact, runtime: str = "auto") -> None:
    """The pipeline's scores for real JPEGs against numpy."""
    files = [encode(image) for image in make_images(3, 40, 30, seed=8)]
    with cvserve.load(artifact.directory, runtime=runtime) as pipeline:
        results = pipeline(files, top_k=4)
        pixels = np.stack([pipeline.prepare(data).pixels for data in files])
    settings = artifact.manifest.input
    if settings.is_pixels:  # exported anew, with the scaling inside
        settings = settings.model_copy(
            update={"dtype": "float32", "scale": 1 / 255, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}
        )
    for result, wanted in zip(results, expected(pixels, settings), strict=True):
        assert [item.index for item in result.classes] == list(np.argsort(-wanted, kind="stable"))
        assert [item.score for item in result.classes] == pytest.approx(np.sort(wanted)[::-1], abs=1e-4)
        assert result.best.label == LABELS[result.best.index]


def test_onnx_nchw_float(tmp_path: Path) -> None:
    artifact = import_model(write_onnx(tmp_path / "m.onnx"), _spec(licence="MIT"), tmp_path / "models" / "colours")
    manifest = artifacts.read(artifact.directory).manifest
    assert (manifest.name, manifest.input.name, manifest.input.layout) == ("colours", "data", "NCHW")
    assert (manifest.preproc.height, manifest.preproc.width) == (8, 8)
    assert (manifest.outputs[0].role, manifest.postproc.activation) == ("logits", "softmax")
    assert (manifest.provenance.source, manifest.provenance.licence) == ("import", "MIT")
    assert [graph.format for graph in manifest.graphs] == ["onnx"]
    assert manifest.graphs[0].parity is None
    _check_answers(artifact)


def test_probabilities_and_a_fixed_batch_are_recognised(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", batch=1, layout="NHWC", logits=False)
    artifact = import_model(path, _spec(input={"channels": "BGR"}), tmp_path / "colours")
    assert (artifact.manifest.outputs[0].role, artifact.manifest.postproc.activation) == ("probabilities", "none")
    assert artifact.manifest.graphs[0].batch == 1
    _check_answers(artifact)


def test_sigmoids_are_not_taken_for_logits(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", logits=False, sigmoid=True)
    with pytest.raises(InvalidInput, match=r"between 0 and 1 but do not sum to 1, .* write output\.role"):
        import_model(path, _spec(), tmp_path / "colours")
    manifest = import_model(path, _spec(output={"role": "probabilities"}), tmp_path / "colours").manifest
    assert (manifest.outputs[0].role, manifest.postproc.activation) == ("probabilities", "none")


def test_a_float16_graph_is_labelled_so(tmp_path: Path) -> None:
    manifest = import_model(write_onnx(tmp_path / "m.onnx", half=True), _spec(), tmp_path / "colours").manifest
    assert (manifest.input.dtype, manifest.graphs[0].precision) == ("float16", "float16")


def test_sizes_that_the_file_leaves_open_come_from_the_spec(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", size="S", extra_output=True)
    spec = _spec(preproc={"height": 12, "width": 10, "resize": "letterbox"}, output={"name": "scores"})
    artifact = import_model(path, spec, tmp_path / "colours")
    assert (artifact.manifest.preproc.height, artifact.manifest.preproc.width) == (12, 10)
    _check_answers(artifact)


def test_weights_beside_the_onnx_file_come_along(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    path = write_onnx(tmp_path / "theirs" / "m.onnx", external=True)
    artifact = import_model(path, _spec(), tmp_path / "colours")
    assert [entry.path for entry in artifact.manifest.graphs[0].files] == ["model.onnx", "weights.bin"]
    (tmp_path / "theirs" / "weights.bin").unlink()
    _check_answers(artifact)
    with pytest.raises((InvalidInput, ArtifactError), match=r"weights\.bin|cannot load"):
        import_model(path, _spec(), tmp_path / "again")


def test_a_saved_model_with_its_own_names(tmp_path: Path) -> None:
    path = write_saved_model(tmp_path / "theirs")
    with pytest.raises(InvalidInput, match="no signature 'serving_default'; it has predict; write signature"):
        import_model(path, _spec(), tmp_path / "colours")
    artifact = import_model(path, _spec(signature="predict"), tmp_path / "colours")
    manifest = artifact.manifest
    assert (manifest.input.name, manifest.outputs[0].name) == ("input_1", "dense")
    assert manifest.graphs[0].signature == "predict"
    assert (artifact.directory / "saved_model.pb").is_file()
    assert not (artifact.directory / "notes.txt").exists()
    _check_answers(artifact, "tensorflow")


@pytest.mark.slow
def test_a_keras_file_appears_in_all_formats(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "m.keras")
    artifact = import_model(path, _spec(input={"channels": "BGR"}), tmp_path / "colours")
    manifest = artifact.manifest
    assert [graph.format for graph in manifest.graphs] == ["saved_model", "onnx", "tflite"]
    assert all(graph.parity is not None and graph.parity.holds for graph in manifest.graphs)
    assert manifest.input.is_pixels
    assert (manifest.outputs[0].name, manifest.postproc.activation) == ("logits", "softmax")
    pixels = make_images(3, 8, 8)
    values = (pixels[..., ::-1] / 255 - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.25]
    wanted = softmax(values.mean(axis=(1, 2)) @ WEIGHTS)
    for runtime in ("tensorflow", "onnx", "litert"):
        with cvserve.load(artifact.directory, runtime=runtime) as pipeline:
            scores = [[item.score for item in sorted(r.classes, key=lambda c: c.index)] for r in pipeline(list(pixels))]
        np.testing.assert_allclose(scores, wanted, atol=1e-4)


def test_a_keras_file_of_probabilities_and_another_layout(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "m.keras", logits=False)
    with pytest.raises(InvalidInput, match=r"input\.layout says NCHW, but the file takes float32 .batch, 8, 8, 3"):
        import_model(path, _spec(input={"layout": "NCHW"}), tmp_path / "colours")
    with pytest.raises(InvalidInput, match=r"output\.role says logits, but .* sum to 1"):
        import_model(path, _spec(output={"role": "logits"}), tmp_path / "colours")
    with pytest.raises(InvalidInput, match=r"output\.name says 'scores'; write output\.name, one of predictions"):
        import_model(path, _spec(output={"name": "scores"}), tmp_path / "colours")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["a", "b", "c"]}, "3 labels do not fit output 'scores', which has 4 classes; .*background"),
        ({"labels": []}, "the list is empty"),
        ({"labels": "nothing.txt"}, "no file at .*nothing.txt"),
        ({"input": {"layout": "NHWC"}}, r"input\.layout says NHWC, but the file takes float32 \[batch, 3, 8, 8\]"),
        ({"input": {"dtype": "uint8"}}, r"input\.dtype says uint8, but the file takes float32"),
        ({"input": {"name": "image"}}, r"input\.name says 'image', but the file has data"),
        ({"input": {"scale": None}}, r"input\.scale is missing: the file takes float32 numbers .* write 1/255"),
        ({"input": {"scale": "1/0"}}, r"input\.scale = '1/0' cannot be used"),
        ({"input": {"std": [0.2, 0, 0.2]}}, r"input\.std .*every value must be above 0"),
        ({"input": {"quantization": {"scale": 0.1, "zero_point": 3}}}, r"input\.quantization is given, but .* float32"),
        ({"input": {"means": [1, 1, 1]}}, r"unknown key 'input\.means'; did you mean 'mean'"),
        ({"preprocessing": {}}, "unknown key 'preprocessing'; did you mean 'preproc'"),
        ({"preproc": {"height": 9}}, r"preproc\.height says 9, but the file takes float32 \[batch, 3, 8, 8\]"),
        ({"preproc": {"resize": "exact", "short_side": 9}}, "short_side is only used with resize 'short_side'"),
        ({"output": {"name": "probabilities"}}, r"output\.name says 'probabilities', but the file has scores"),
        ({"output": {"role": "probabilities"}}, r"output\.role says probabilities, but 'scores' gave .* write logits"),
        ({"task": "detection"}, "task = 'detection' cannot be used"),
        ({"name": "shades"}, "the spec calls the model 'shades', but .* would call it 'colours'"),
    ],
)
def test_a_spec_that_contradicts_the_file(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    with pytest.raises((InvalidInput, NotFound), match=message) as caught:
        import_model(path, _spec(**changes), tmp_path / "colours")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "colours").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extra_output": True}, r"the file has 2 outputs; write output\.name, one of scores, means"),
        ({"size": "S"}, r"images of any height .* write preproc\.height"),
        ({"size": 3}, "does not show the layout; write input.layout"),
        ({"broken": True}, "not finite for a random image"),
    ],
)
def test_a_file_with_missing_facts_needs_a_spec(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        import_model(write_onnx(tmp_path / "m.onnx", **options), _spec(), tmp_path / "colours")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no model at"):
        import_model(tmp_path / "gone.onnx", _spec(), tmp_path / "colours")
    (tmp_path / "model.pt").write_bytes(b"torch")
    with pytest.raises(InvalidInput, match=r"model\.pt is none of \.onnx, \.tflite, \.keras"):
        import_model(tmp_path / "model.pt", _spec(), tmp_path / "colours")
    with pytest.raises(InvalidInput, match=r"without saved_model\.pb"):
        import_model(tmp_path, _spec(), tmp_path / "colours")
    for name in ("m.onnx", "m.tflite", "m.keras"):
        (tmp_path / name).write_bytes(b"not what its name says")
        with pytest.raises(ArtifactError, match="cannot load") as caught:
            import_model(tmp_path / name, _spec(), tmp_path / "colours")
        assert "\n" not in str(caught.value)


def test_labels_from_files(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    spec = tmp_path / "specs" / "spec.yaml"
    spec.parent.mkdir()
    spec.write_text("task: classification\nlabels: names.txt\ninput: {scale: 1/255}\n")
    with pytest.raises(NotFound, match=r"specs/names\.txt or .*names\.txt"):
        import_model(path, spec, tmp_path / "colours")
    (tmp_path / "names.txt").write_text("beside\nthe\nmodel\nfile\n\n")
    assert import_model(path, spec, tmp_path / "colours").manifest.labels == ("beside", "the", "model", "file")
    (spec.parent / "names.txt").write_text(
        "n01440764 tench, Tinca tinca\nn01443537\tgoldfish\nn00000003 a b\nn00000004 c\n"
    )
    labels = import_model(path, spec, tmp_path / "colours").manifest.labels
    assert labels == ("tench, Tinca tinca", "goldfish", "a b", "c")
    (tmp_path / "other.txt").write_text("1\n2\n3\n4")
    artifact = import_model(path, spec, tmp_path / "colours", labels=tmp_path / "other.txt")
    assert (artifact.version, artifact.manifest.labels) == (3, ("1", "2", "3", "4"))
    (spec.parent / "names.txt").write_text("one\n\nthree\nfour\n")
    with pytest.raises(InvalidInput, match=r"line 2 of .*names\.txt is empty"):
        import_model(path, spec, tmp_path / "colours")


def test_the_scale_of_a_quantized_onnx_is_read(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    constant = onnx.numpy_helper.from_array
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["real"]),
            helper.make_node("ReduceMean", ["real"], ["means"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["means", "weights"], ["logits"]),
            helper.make_node("QuantizeLinear", ["logits", "out_scale", "out_zero"], ["answer"]),
        ],
        "quantised",
        [helper.make_tensor_value_info("q", kinds.INT8, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("answer", kinds.UINT8, [1, 4])],
        [
            constant(np.float32(0.02), "scale"),
            constant(np.int8(-5), "zero"),
            constant(np.float32(0.1), "out_scale"),
            constant(np.uint8(100), "out_zero"),
            constant(np.eye(3, 4, dtype=np.float32) * 3, "weights"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "q.onnx"))
    manifest = import_model(tmp_path / "q.onnx", _spec(), tmp_path / "colours").manifest
    assert manifest.input.quantization is not None
    assert (manifest.input.quantization.scale, manifest.input.quantization.zero_point) == (pytest.approx(0.02), -5)
    assert manifest.outputs[0].quantization is not None
    assert manifest.outputs[0].quantization.zero_point == 100
    assert manifest.graphs[0].precision == "int8"
    wrong = _spec(input={"quantization": {"scale": 0.5, "zero_point": 0}})
    with pytest.raises(InvalidInput, match=r"says scale 0\.5 and zero point 0, but the file has 0\.02 and -5"):
        import_model(tmp_path / "q.onnx", wrong, tmp_path / "colours")


def test_imagenet_photos_through_an_imported_int8_model(shared: Path, tmp_path: Path) -> None:
    """The model and the photos come from other projects: 33 and 45 of 49 is what its README promises within one."""
    folder = shared / "models" / "mobilenet_v2_imagenet_int8"
    spec = Path(__file__).resolve().parents[2] / "examples" / "import_mobilenet_v2" / "spec.yaml"
    artifact = import_model(folder / "model.tflite", spec, tmp_path / "models" / "mobilenet_v2")
    synsets = (folder / "synsets.txt").read_text().split()
    photos = sorted((folder / "photos").glob("*.jpg"))
    with cvserve.load(artifact.directory.parent) as pipeline:
        results = pipeline(photos, top_k=5)
    wanted = [photo.name.partition("_")[0] for photo in photos]
    found = [[synsets[item.index] for item in result.classes] for result in results]
    assert len(photos) == 49
    assert sum(best[0] == ground_truth for best, ground_truth in zip(found, wanted, strict=True)) >= 33
    assert sum(ground_truth in best for best, ground_truth in zip(found, wanted, strict=True)) >= 45
