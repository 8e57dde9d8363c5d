"""A segmentation model behind the server: VisionService, streams, Predict, and the clients."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from serving_kit import jpeg, photo
from tiny_artifact import publish_tiny
from tiny_segmenter import CHANNELS, COLORS, LABELS, PREPROC, make_images, make_segmenter, publish_colors

from cvserve.artifact import PreprocSpec, SegmentationPostproc
from cvserve.client import AsyncClient, Client
from cvserve.errors import FailedPrecondition, ImageError, InvalidInput
from cvserve.pipeline import Pipeline
from cvserve.postproc import EncodedSegmentation, SegmentationResult
from cvserve.preproc import decode
from cvserve.protos import vision_pb2, vision_pb2_grpc
from cvserve.serving import Server, ServerSettings

pytestmark = pytest.mark.slow

SHAPES = ((200, 120), (120, 200), (64, 48), (300, 40))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of `streets`, a network of Keras, `channels`, a graph of 360 x 480, and `colors`, a classifier."""
    pytest.importorskip("tensorflow_serving")
    from cvserve.export import export_model

    root = tmp_path_factory.mktemp("models")
    export_model(
        make_segmenter(),
        root / "streets",
        task="segmentation",
        labels=LABELS,
        preproc=PREPROC,
        postproc=SegmentationPostproc(colors=COLORS),
        parity_images=make_images(8),
        formats=("saved_model", "onnx"),
    )
    publish_colors(root / "channels", PreprocSpec(height=360, width=480, resize="letterbox"))
    publish_tiny(root / "colours")
    return root


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of `channels` alone."""
    root = tmp_path_factory.mktemp("channels")
    publish_colors(root / "channels", PreprocSpec(height=360, width=480, resize="letterbox"))
    return root


@asynccontextmanager
async def serving(root: Path, runtime: str = "onnx", **settings: Any) -> AsyncIterator[Server]:
    own = {"streets": {"runtime": runtime}} if (root / "streets").is_dir() else {}
    values = {"host": "127.0.0.1", "port": 0, "grace_seconds": 5, "max_batch_size": 4, "instances": 1, "models": own}
    async with Server(root, ServerSettings.model_validate(values | settings)) as server:
        yield server


def assert_same(found: SegmentationResult, wanted: SegmentationResult) -> None:
    assert np.array_equal(found.class_map, wanted.class_map)
    assert [(item.label, item.index) for item in found.classes] == [(item.label, item.index) for item in wanted.classes]
    for mine, theirs in zip(found.classes, wanted.classes, strict=True):
        assert mine.coverage == theirs.coverage
        assert mine.confidence == pytest.approx(theirs.confidence, abs=1e-6)


async def test_the_class_map_is_the_pipelines_own(models: Path) -> None:
    """Images of several shapes, all of them letterboxed."""
    images = [photo(seed, width=width, height=height) for seed, (width, height) in enumerate(SHAPES)]
    with Pipeline.load(models / "streets", runtime="onnx", threads=1) as pipeline:
        wanted = pipeline(images)

    def ask(address: str) -> list[SegmentationResult]:
        with Client(address) as client:
            found = [client.segment("streets", image) for image in images]
            assert list(client.segment_many("streets", images, concurrency=3)) == found
            return found

    async with serving(models) as server, AsyncClient(server.address) as client:
        found = await asyncio.to_thread(ask, server.address)
        assert [item async for item in client.segment_many("streets", images, concurrency=2)] == found
    for image, mine, theirs in zip(SHAPES, found, wanted, strict=True):
        assert isinstance(theirs, SegmentationResult)
        assert (mine.image_width, mine.image_height) == image
        assert len(mine.classes) > 1
        assert_same(mine, theirs)


async def test_the_class_map_is_the_keras_networks(models: Path) -> None:
    """Images of the graph's own size, so that nothing is resized: at least 99.9 % of the pixels."""
    images = make_images(8, seed=5)
    wanted = np.asarray(make_segmenter()(images, training=False)["class_map"])
    for runtime in ("onnx", "tensorflow"):
        async with serving(models, runtime) as server, AsyncClient(server.address) as client:
            found = [item.class_map async for item in client.segment_many("streets", list(images))]
        assert (np.stack(found) == wanted).mean() >= 0.999


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
async def test_a_rotated_image_is_answered_upright(models: Path, orientation: int) -> None:
    # Too small for a JPEG to be shrunk while it is decoded, so that the pixels are the same.
    turned = photo(3, orientation, width=92, height=60)
    upright = decode(turned)
    pixels = cv2.imencode(".png", upright[..., ::-1])[1].tobytes()
    async with serving(models) as server, AsyncClient(server.address) as client:
        found = await client.segment("streets", turned)
        assert found.class_map.shape == upright.shape[:2]
        assert (found.image_width > found.image_height) == (orientation in (2, 3))
        assert_same(found, await client.segment("streets", pixels))


async def test_a_photo_of_twelve_megapixels(channels: Path) -> None:
    blocks = np.random.default_rng(0).integers(0, 3, (30, 40))
    image = np.full((30, 40, 3), 30, np.uint8)
    np.put_along_axis(image, blocks[..., None], 220, axis=2)
    data = cv2.imencode(".jpg", image.repeat(100, axis=0).repeat(100, axis=1)[..., ::-1])[1].tobytes()
    with Pipeline.load(channels / "channels", threads=1) as pipeline:
        [wanted] = pipeline(data)
    async with serving(channels) as server, AsyncClient(server.address) as client:
        found = await client.segment("channels", data)
        assert found.class_map.shape == (3000, 4000)
        assert isinstance(wanted, SegmentationResult)
        assert_same(found, wanted)
        assert np.array_equal(found.class_map[50::100, 50::100], blocks)
        began = time.perf_counter()
        sent = await client.segment_encoded("channels", data)
        with_png = time.perf_counter() - began
        assert len(sent.png) < 200_000
        other = await client.segment_encoded("channels", data, "rle")
        assert np.array_equal(other.decode().class_map, found.class_map)
        began = time.perf_counter()
        await client.segment_encoded("channels", data, "none")
        # Nothing of the map is encoded, which is most of the work with PNG.
        assert time.perf_counter() - began < 1.5 * with_png


async def test_mask_formats(models: Path) -> None:
    image = photo(1)
    model = vision_pb2.ModelSpec(name="streets")
    async with serving(models) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = vision_pb2_grpc.VisionServiceStub(channel)

        async def ask(**options: Any) -> Any:
            request = vision_pb2.SegmentRequest(model=model, image=image, options=vision_pb2.Options(**options))
            return await stub.Segment(request)

        plain = await stub.Segment(vision_pb2.SegmentRequest(model=model, image=image))
        assert plain == await ask(mask_format=vision_pb2.MASK_FORMAT_PNG) == await ask(score_threshold=0.99, top_k=1)
        assert (plain.image_width, plain.image_height, plain.model.version) == (200, 120, 1)
        assert (plain.class_map.width, plain.class_map.height) == (200, 120)
        class_map = cv2.imdecode(np.frombuffer(plain.class_map.png, np.uint8), cv2.IMREAD_UNCHANGED)
        assert [item.area for item in plain.masks] == sorted((item.area for item in plain.masks), reverse=True)
        for item in plain.masks:
            assert item.label == LABELS[item.index]
            assert item.area == pytest.approx((class_map == item.index).mean())
            assert 0 < item.score <= 1
            assert not item.HasField("mask")
        none = await ask(mask_format=vision_pb2.MASK_FORMAT_NONE)
        assert not none.HasField("class_map")
        assert (list(none.masks), none.image_width) == (list(plain.masks), 200)
        for name, field in (("RUN_LENGTHS", "run_lengths"), ("POLYGONS", "polygons")):
            masks = await ask(mask_format=getattr(vision_pb2, f"MASK_FORMAT_{name}"))
            assert not masks.HasField("class_map")
            assert {item.mask.WhichOneof("format") for item in masks.masks} == {field}
            assert {(item.mask.width, item.mask.height) for item in masks.masks} == {(200, 120)}
    async with serving(models) as server, AsyncClient(server.address) as client:
        for mask_format in ("png", "rle", "polygons"):
            encoded = await client.segment_encoded("streets", image, mask_format)
            assert encoded.mask_format == mask_format
            assert np.array_equal(encoded.decode().class_map, class_map)
        with Pipeline.load(models / "streets", runtime="onnx", threads=1) as pipeline:
            [result] = pipeline(image)
        for mask_format in ("png", "rle", "polygons", "none"):
            row = (await client.segment_encoded("streets", image, mask_format)).to_dict()
            assert row == result.to_dict(mask_format)  # type: ignore[call-arg]


async def test_errors(models: Path) -> None:
    async with serving(models) as server, AsyncClient(server.address) as client:
        with pytest.raises(InvalidInput, match="mask_format must be png, rle, polygons or none, not 'gif'"):
            await client.segment_encoded("streets", photo(1), "gif")
        with pytest.raises(FailedPrecondition, match="does segmentation, not detection; ask it with Segment"):
            await client.detect("streets", photo(1))
        with pytest.raises(FailedPrecondition, match="does classification, not segmentation; ask it with Classify"):
            await client.segment("colours", photo(1))
        with pytest.raises((ImageError, InvalidInput)):
            await client.segment("streets", b"no image")
        with pytest.raises(InvalidInput, match="the request had mask_format none"):
            (await client.segment_encoded("streets", photo(1), "none")).decode()
        info = await client.model_info("streets")
        assert (info.task, info.labels, info.colors) == ("segmentation", LABELS, COLORS)
        assert (await client.model_info("channels")).labels == CHANNELS
        assert (await client.model_info("colours")).colors == ()


async def test_an_answer_larger_than_a_message(channels: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    async with serving(channels, max_message_bytes=120_000) as server, AsyncClient(server.address) as client:
        with pytest.raises(InvalidInput, match=r"the masks as polygons take .* more than the 120000 .* such as PNG"):
            await client.segment_encoded("channels", noise, "polygons")
        answers = client.stream("channels", [noise, noise[:24, :32]], mask_format="polygons")
        first, second = [answer async for answer in answers]
        assert isinstance(first.error, InvalidInput)
        assert isinstance(second.value, SegmentationResult)
        assert (await client.segment("channels", noise)).class_map.shape == (120, 160)


async def test_a_stream_answers_as_the_model_does(models: Path) -> None:
    images = [photo(seed) for seed in range(3)]

    def ask(address: str) -> list[Any]:
        with Client(address) as client:
            return [answer.value for answer in client.stream("streets", images)]

    async with serving(models) as server, AsyncClient(server.address) as client:
        wanted = [await client.segment("streets", image) for image in images]
        for mask_format in (None, "png", "rle", "polygons"):
            answers = [answer async for answer in client.stream("streets", images, mask_format=mask_format)]
            assert [answer.version for answer in answers] == [1, 1, 1]
            for answer, result in zip(answers, wanted, strict=True):
                assert isinstance(answer.value, SegmentationResult)
                assert_same(answer.value, result)
        assert await asyncio.to_thread(ask, server.address) == wanted
        async for answer in client.stream("streets", images[:1], mask_format="none"):
            assert isinstance(answer.value, EncodedSegmentation)
            figures = [(item.index, pytest.approx(item.coverage)) for item in wanted[0].classes]
            assert [(item.index, item.coverage) for item in answer.value.classes] == figures


async def test_one_stream_can_use_models_of_several_tasks(models: Path) -> None:
    names = ("streets", "colours", "channels")
    async with serving(models) as server, grpc.aio.insecure_channel(server.address) as channel:
        call = vision_pb2_grpc.VisionServiceStub(channel).Stream()
        for number, name in enumerate(names):
            model = vision_pb2.ModelSpec(name=name)
            await call.write(vision_pb2.StreamRequest(model=model, frame_id=number, image=jpeg()))
        await call.done_writing()
        kinds = [answer.WhichOneof("answer") async for answer in call]
    assert kinds == ["segmentation", "classification", "segmentation"]


async def test_encoding_does_not_block_the_loop(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvserve.postproc import masks
    from cvserve.postproc.decoders import segmentation
    from cvserve.postproc.results import segmentation as results

    threads: list[threading.Thread] = []
    for module, name in ((masks, "to_png"), (segmentation, "in_original"), (results, "check_mask_format")):
        honest = getattr(module, name)

        def watched(*arguments: Any, honest: Any = honest) -> Any:
            threads.append(threading.current_thread())
            return honest(*arguments)

        monkeypatch.setattr(module, name, watched)
    async with serving(models) as server, grpc.aio.insecure_channel(server.address) as channel:
        request = vision_pb2.SegmentRequest(model=vision_pb2.ModelSpec(name="streets"), image=photo(1))
        await vision_pb2_grpc.VisionServiceStub(channel).Segment(request)
    assert [thread is threading.main_thread() for thread in threads] == [False] * 3


async def test_predict_gives_the_graphs_own_outputs(models: Path) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    images = make_images(3, seed=4)
    with Pipeline.load(models / "streets", runtime="onnx", threads=1) as pipeline:
        raw = pipeline.runtime.run({"images": images})
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "streets"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
    async with serving(models) as server, grpc.aio.insecure_channel(server.address) as channel:
        answer = await prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
    found = {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}
    assert found["class_map"].dtype == np.uint8
    assert np.array_equal(found["class_map"], raw["class_map"])
    np.testing.assert_array_equal(found["confidence"], raw["confidence"])
