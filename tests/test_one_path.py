"""One JPEG gives the network the same pixels in training, evaluation, export, prediction and serving."""

from __future__ import annotations

import asyncio
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_artifact import LABELS, publish_tiny, write_image

import cvserve
from cvserve.artifact import Artifact
from cvserve.runtimes.onnx import OnnxRuntime

PHOTO = "photo.jpg"


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return publish_tiny(tmp_path / "models" / "colours")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder-per-class set whose val split holds one photo that needs everything: large, turned by EXIF, noisy."""
    for split in ("train", "val"):
        for label in LABELS:
            write_image(tmp_path / "data" / split / label / "plain.png", label)
    rng = np.random.default_rng(0)
    pixels = cv2.resize(rng.integers(0, 256, (60, 80, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    encoded = cv2.imencode(".jpg", pixels)[1].tobytes()
    # EXIF with orientation 6 alone: the image must be turned by 90 degrees.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "data" / "val" / LABELS[0] / PHOTO).write_bytes(encoded[:2] + segment + encoded[2:])
    return tmp_path / "data"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Every image that reaches a graph, in order."""
    images: list[np.ndarray] = []
    original = OnnxRuntime.run

    def run(self: OnnxRuntime, inputs: dict, outputs: list[str] | None = None) -> dict:
        images.extend(np.array(inputs["images"]))
        return original(self, inputs, outputs)

    monkeypatch.setattr(OnnxRuntime, "run", run)
    return images


def test_one_jpeg_gives_the_same_pixels_everywhere(artifact: Artifact, folder: Path, seen: list[np.ndarray]) -> None:
    pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_serving")
    photo = folder / "val" / LABELS[0] / PHOTO
    inputs = {
        "training": _in_training(folder, artifact),
        "evaluation": _in_evaluation(folder, artifact, seen),
        "predict": _in_predict(photo, artifact, seen),
        "pipeline, bytes": _in_pipeline(photo.read_bytes(), artifact, seen),
        **_in_server(photo, artifact, seen),
    }
    expected = inputs["pipeline, bytes"]
    assert expected.std() > 10, "a flat image would prove nothing"
    for where, pixels in inputs.items():
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, expected, err_msg=where)


def _last(seen: list[np.ndarray], of: int = -1) -> np.ndarray:
    image = seen[of]
    seen.clear()
    return image


def _in_training(folder: Path, artifact: Artifact) -> np.ndarray:
    from cvserve.data import ImagePipeline, open_dataset

    split = open_dataset(folder, "val", classes=LABELS)
    index = next(index for index in range(len(split)) if split.name(index).endswith(PHOTO))
    pipeline = ImagePipeline(split, artifact.manifest.preproc, batch_size=8)
    images, _ = next(iter(pipeline.epoch(0)))
    return images.numpy()[index]


def _in_evaluation(folder: Path, artifact: Artifact, seen: list[np.ndarray]) -> np.ndarray:
    from cvserve.data import open_dataset
    from cvserve.evaluation import evaluate

    split = open_dataset(folder, "val", classes=LABELS)
    index = next(index for index in range(len(split)) if split.name(index).endswith(PHOTO))
    seen.clear()
    evaluate(artifact.directory, str(folder), split="val", runtime="onnx")
    return _last(seen, index)


def _in_predict(photo: Path, artifact: Artifact, seen: list[np.ndarray]) -> np.ndarray:
    from cvserve.batch import Sources, open_sink, predict
    from cvserve.pipeline import Pipeline

    with (
        Pipeline.load(artifact.directory, runtime="onnx") as pipeline,
        open_sink(photo.parents[2] / "rows.jsonl") as sink,
    ):
        predict(pipeline, Sources([photo]), sink)
    return _last(seen)


def _in_pipeline(data: bytes, artifact: Artifact, seen: list[np.ndarray]) -> np.ndarray:
    with cvserve.load(artifact.directory, runtime="onnx") as pipeline:
        pipeline(data)
    return _last(seen)


def _in_server(photo: Path, artifact: Artifact, seen: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Through VisionService.Classify, and through TensorFlow Serving's Predict with encoded bytes."""
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    from cvserve.serving import Server, ServerSettings

    async def ask() -> dict[str, np.ndarray]:
        settings = ServerSettings(host="127.0.0.1", port=0, runtime="onnx")
        async with Server(artifact.directory.parents[1], settings) as server:
            address = f"127.0.0.1:{server.port}"
            seen.clear()
            async with cvserve.AsyncClient(address) as client:
                await client.classify("colours", photo)
            classified = _last(seen)
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = "colours", "bytes"
            request.inputs["image_bytes"].dtype = 7  # DT_STRING
            request.inputs["image_bytes"].tensor_shape.dim.add(size=1)
            request.inputs["image_bytes"].string_val.append(photo.read_bytes())
            async with grpc.aio.insecure_channel(address) as channel:
                await prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
            return {"server, Classify": classified, "server, Predict of bytes": _last(seen)}

    return asyncio.run(ask())
