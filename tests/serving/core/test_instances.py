"""Objects with masks behind the server: Detect, Segment and streams in every mask format, and the clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
from serving_kit import photo
from tiny_instances import LABELS, publish_instances

from cvserve.client import AsyncClient, Client
from cvserve.errors import FailedPrecondition, InvalidInput
from cvserve.pipeline import Pipeline
from cvserve.postproc import DetectionResult
from cvserve.protos import vision_pb2, vision_pb2_grpc
from cvserve.serving import Server, ServerSettings

FORMATS = ("rle", "png", "polygons")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow_serving")
    root = tmp_path_factory.mktemp("models")
    publish_instances(root / "animals")
    return root


@asynccontextmanager
async def serving(root: Path, **settings: object) -> AsyncIterator[Server]:
    values = {"host": "127.0.0.1", "port": 0, "grace_seconds": 5, "max_batch_size": 4, "instances": 1}
    values["models"] = {"animals": {"runtime": "onnx"}}
    async with Server(root, ServerSettings.model_validate(values | settings)) as server:
        yield server


def same(found: DetectionResult, wanted: DetectionResult) -> bool:
    """Checks that masks and boxes are equal to the pixel; the client has only the names of classes in the image."""
    assert [item.label for item in found] == [item.label for item in wanted]
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-4)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)
    return found.masks == wanted.masks


async def test_every_format_is_the_pipelines_own_answer(models: Path) -> None:
    images = [photo(1, width=200, height=120), photo(2, width=90, height=150)]
    with Pipeline.load(models / "animals", runtime="onnx", threads=1) as pipeline:
        wanted = pipeline(images)
    areas = [item.masks.areas.tolist() for item in wanted if isinstance(item, DetectionResult) and item.masks]
    assert all(area > 0 for item in areas for area in item), "both objects have pixels"

    def ask(address: str) -> None:
        with Client(address) as client:
            assert client.model_info("animals").has_masks
            for image, theirs in zip(images, wanted, strict=True):
                assert isinstance(theirs, DetectionResult)
                assert same(client.detect("animals", image), theirs)
                assert same(client.segment("animals", image), theirs)  # type: ignore[arg-type]
                for mask_format in FORMATS:
                    assert same(client.detect("animals", image, mask_format=mask_format), theirs)
                    assert same(client.segment_encoded("animals", image, mask_format), theirs)  # type: ignore[arg-type]
                bare = client.detect("animals", image, mask_format="none")
                assert bare.masks is None
                assert same(bare, theirs[:]) is False
                bare = client.segment_encoded("animals", image, "none")  # type: ignore[assignment]
                assert bare.masks is None
                assert same(bare, theirs[:]) is False
            for mask_format in FORMATS:
                frames = list(client.stream("animals", images, mask_format=mask_format))
                assert all(same(frame.value, theirs) for frame, theirs in zip(frames, wanted, strict=True))  # type: ignore[arg-type]

    async with serving(models) as server, AsyncClient(server.address) as client:
        await asyncio.to_thread(ask, server.address)
        for mask_format in (None, *FORMATS):
            assert same(await client.detect("animals", images[0], mask_format=mask_format), wanted[0])  # type: ignore[arg-type]
        found = await client.segment("animals", images[1])
        assert isinstance(found, DetectionResult)
        assert same(found, wanted[1])  # type: ignore[arg-type]


async def test_the_messages(models: Path) -> None:
    """The fields that are set, which clients in other languages read."""
    image, model = photo(1), vision_pb2.ModelSpec(name="animals")
    async with serving(models) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = vision_pb2_grpc.VisionServiceStub(channel)
        answer = await stub.Segment(vision_pb2.SegmentRequest(model=model, image=image))
        assert not answer.HasField("class_map")
        assert not answer.masks
        assert [item.label for item in answer.instances.objects] == ["dog", "bird"]
        mask = answer.instances.objects[0].mask
        assert sum(mask.run_lengths.counts) == mask.width * mask.height == answer.image_width * answer.image_height
        options = vision_pb2.Options(score_threshold=0.99)
        nothing = await stub.Segment(vision_pb2.SegmentRequest(model=model, image=image, options=options))
        assert nothing.HasField("instances")
        assert not nothing.instances.objects
        options = vision_pb2.Options(mask_format=vision_pb2.MASK_FORMAT_NONE, max_results=1)
        [found] = (await stub.Detect(vision_pb2.DetectRequest(model=model, image=image, options=options))).objects
        assert found.label == LABELS[1]
        assert not found.HasField("mask")


async def test_masks_too_large_for_a_message(models: Path) -> None:
    blocks = np.random.default_rng(0).integers(0, 2, (48, 64, 1), np.uint8).repeat(3, axis=2) * 255
    image = cv2.imencode(".png", blocks.repeat(25, axis=0).repeat(25, axis=1), [cv2.IMWRITE_PNG_COMPRESSION, 9])[
        1
    ].tobytes()
    assert len(image) < 30_000
    async with serving(models, max_message_bytes=32768) as server, AsyncClient(server.address) as client:
        with pytest.raises(
            InvalidInput, match=r"the masks as polygons take .* another mask_format, such as run lengths"
        ):
            await client.detect("animals", image, mask_format="polygons")
        assert (await client.detect("animals", image)).masks is not None


async def test_a_detector_without_masks_does_not_segment(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_serving")
    from tiny_cells import publish_cells

    publish_cells(tmp_path / "models" / "animals")
    async with serving(tmp_path / "models") as server, AsyncClient(server.address) as client:
        assert not (await client.model_info("animals")).has_masks
        with pytest.raises(FailedPrecondition, match="does detection, not segmentation; ask it with Detect"):
            await client.segment("animals", photo(1))
