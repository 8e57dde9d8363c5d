"""Warm-up requests as TensorFlow Serving reads them, and the signature for encoded images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_network import LABELS, PREPROC, encode, make_images, make_model

from cvserve.artifact import Artifact
from cvserve.errors import ExportError, InvalidInput
from cvserve.export import encoded, export_model
from cvserve.export.warmup import FILE
from cvserve.preproc import preprocess
from cvserve.runtimes import open_graph


def test_every_warmup_request_can_be_replayed(exported: Artifact) -> None:
    tf = pytest.importorskip("tensorflow")
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    records = list(tf.data.TFRecordDataset(str(exported.directory / FILE)).as_numpy_iterator())
    assert 1 <= len(records) <= 5
    signatures = []
    for record in records:
        request = logs.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "shapes"
        signatures.append(request.model_spec.signature_name)
        runtime = open_graph(exported.directory, "saved_model", signature=signatures[-1])
        feed = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        assert np.isfinite(runtime.run(feed)["probabilities"]).all()
    assert signatures == ["serving_default", "serving_default", "bytes"]


def test_the_difference_from_opencv_is_in_the_manifest(exported: Artifact) -> None:
    graph = exported.manifest.graphs[0]
    assert graph.encoded is not None
    assert (graph.encoded.signature, graph.encoded.input) == ("bytes", "image_bytes")
    assert graph.encoded.parity.images == 5
    assert graph.encoded.pixels_max_difference <= 1
    assert graph.encoded.parity.holds


def test_the_bytes_signature_takes_several_images(exported: Artifact, model: Any) -> None:
    files = [encode(photo) for photo in make_images(3, 80, 100, seed=4)]
    files.append(encode(make_images(1, 10, 12)[0], ".png"))
    runtime = open_graph(exported.directory, "saved_model", signature="bytes")
    got = runtime.run({"image_bytes": np.array(files, object)})["probabilities"]
    pixels = np.stack([preprocess(data, PREPROC)[0] for data in files])
    np.testing.assert_allclose(got, np.asarray(model(pixels, training=False)["probabilities"]), atol=0.02)
    with pytest.raises(InvalidInput, match="TensorFlow cannot run the model on this input"):
        runtime.run({"image_bytes": np.array([b"no photo"], object)})


def test_a_signature_that_decodes_otherwise_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the orientation were forgotten: OpenCV sees the photo upside down."""

    def upside_down(data: bytes, spec: Any) -> Any:
        pixels, geometry = preprocess(data, spec)
        return pixels[::-1], geometry

    monkeypatch.setattr(encoded, "preprocess", upside_down)
    with pytest.raises(ExportError, match="decodes or resizes encoded image 0 differently"):
        export_model(
            make_model(),
            tmp_path / "shapes",
            task="classification",
            labels=LABELS,
            preproc=PREPROC,
            parity_images=make_images(2),
            formats=("saved_model",),
        )
    assert not (tmp_path / "shapes").exists()


def _pillow(photo: np.ndarray, kind: str, mode: str = "RGB", orientation: int = 1) -> bytes:
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    image.fromarray(photo).convert(mode).save(stream, kind, **({"exif": exif} if orientation > 1 else {}))
    return stream.getvalue()


def test_images_that_the_signature_takes_otherwise_are_left_out(tmp_path: Path) -> None:
    photo = make_images(1, 60, 80)[0]
    others = [
        _pillow(photo, "TIFF"),
        _pillow(photo, "BMP", "1"),
        _pillow(photo, "BMP", "P"),
        _pillow(photo, "PNG", orientation=6),
        _pillow(photo, "WebP", orientation=3),
    ]
    for data in others:
        preprocess(data, PREPROC)
    for files, left_out, compared in ((others, 5, 2), ([*others, _pillow(photo, "BMP"), encode(photo)], 5, 2)):
        steps: list[str] = []
        published = export_model(
            make_model(),
            tmp_path / "shapes",
            task="classification",
            labels=LABELS,
            preproc=PREPROC,
            parity_images=make_images(2),
            encoded_images=files,
            formats=("saved_model",),
            on_step=steps.append,
        )
        figures = published.manifest.graphs[0].encoded
        assert figures is not None
        assert figures.parity.images == compared
        assert any(step.startswith(f"{left_out} of {len(files)} encoded images left out") for step in steps)
        assert ("comparing the images as PNG instead" in steps) == (len(files) == left_out)
        warmup = published.directory / FILE
        assert not warmup.exists() or others[0] not in warmup.read_bytes()
