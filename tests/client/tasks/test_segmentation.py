"""Class maps in the server's messages, read by the client, without a running server."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cvserve.client import messages
from cvserve.client.messages import Ask
from cvserve.client.tasks import segmentation
from cvserve.errors import InvalidInput
from cvserve.postproc import EncodedSegmentation, Options, SegmentationResult
from cvserve.protos import vision_pb2
from cvserve.serving.core.engine import ModelRef
from cvserve.serving.protocols.vision.answers import encode_frame
from cvserve.serving.protocols.vision.messages import model_spec, options_of

NAMES = ("road", "tree", "sky", "car")
CONFIDENCE = np.array([0.25, 0.5, 0.75, 1], np.float32)


def sent(class_map: np.ndarray, mask_format: str | None, largest: int = 1 << 20) -> bytes:
    """Returns the bytes that are sent."""
    options = Options(mask_format=mask_format)
    field, response = encode_frame(SegmentationResult(class_map, CONFIDENCE, NAMES), options=options, largest=largest)
    assert field == "segmentation"
    response.model.CopyFrom(model_spec(ModelRef("streets", 7)))
    return bytes(response.SerializeToString())


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 15), st.integers(1, 15)).flatmap(
        lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 3))
    ),
    st.sampled_from([None, "png", "rle", "polygons"]),
)
def test_there_and_back(class_map: np.ndarray, mask_format: str | None) -> None:
    response = vision_pb2.SegmentResponse.FromString(sent(class_map, mask_format))
    assert (response.model.name, response.model.version) == ("streets", 7)
    found = segmentation.segmentation(response)
    assert found.mask_format == (mask_format or "png")
    decoded = found.decode()
    assert np.array_equal(decoded.class_map, class_map)
    for item in decoded.classes:
        assert item.label == NAMES[item.index]
        assert item.confidence == CONFIDENCE[item.index]
        assert item.coverage == (class_map == item.index).mean()


def test_coverage_without_masks() -> None:
    response = vision_pb2.SegmentResponse.FromString(sent(np.zeros((3, 5), np.uint8), "none"))
    found = segmentation.segmentation(response)
    assert (found.width, found.height, found.mask_format) == (5, 3, "none")
    assert [(item.label, item.coverage) for item in found.classes] == [("road", 1.0)]
    answer = messages.frame_answer(vision_pb2.StreamResponse(segmentation=response), "here")
    assert isinstance(answer.value, EncodedSegmentation)


def test_outlines_of_other_servers_may_lie_between_pixels() -> None:
    outline = vision_pb2.Polygon(points=[0, 0, 4.2, 0, 4.2, 3, 0, 3])
    mask = vision_pb2.Mask(width=4, height=3, polygons=vision_pb2.Polygons(polygons=[outline]))
    item = vision_pb2.ClassMask(label="sky", index=2, score=0.5, area=1, mask=mask)
    response = vision_pb2.SegmentResponse(masks=[item], image_width=4, image_height=3)
    assert (segmentation.segmentation(response).decode().class_map == 2).all()


def test_the_request_of_a_path() -> None:
    formats = {
        None: vision_pb2.MASK_FORMAT_UNSPECIFIED,
        "png": vision_pb2.MASK_FORMAT_PNG,
        "rle": vision_pb2.MASK_FORMAT_RUN_LENGTHS,
        "polygons": vision_pb2.MASK_FORMAT_POLYGONS,
        "none": vision_pb2.MASK_FORMAT_NONE,
    }
    assert set(formats.values()) == set(vision_pb2.MaskFormat.values())
    for mask_format, number in formats.items():
        ask = Ask("streets", mask_format=mask_format)
        assert ask.segment(b"image").options.mask_format == number
        assert ask.frame(0, b"image", None).options.mask_format == number
        assert options_of(ask.segment(b"image").options, 0).mask_format == mask_format
    with pytest.raises(InvalidInput, match="mask_format must be"):
        Ask("streets", mask_format="gif")


def test_an_answer_that_is_too_large() -> None:
    noise = np.random.default_rng(0).integers(0, 4, (60, 60), np.uint8)
    assert len(sent(noise, "png", 4000)) < 4000
    with pytest.raises(InvalidInput, match=r"the masks as polygons take \d+ bytes, more than the 4000"):
        sent(noise, "polygons", 4000)
