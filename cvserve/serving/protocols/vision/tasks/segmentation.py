"""The messages of Segment: the class of every pixel."""

from __future__ import annotations

from typing import Any

from cvserve.artifact import Manifest, SegmentationPostproc
from cvserve.postproc import EncodedSegmentation, Options, SegmentationResult, encode_segmentation
from cvserve.protos import vision_pb2
from cvserve.serving.protocols.vision.answers import TaskMessages
from cvserve.serving.protocols.vision.masks import add_polygons, check_size


def _encode(result: SegmentationResult, options: Options, largest: int) -> Any:
    """Returns a cvserve.v1.SegmentResponse."""
    encoded = encode_segmentation(result, options.mask_format or "png")
    response = vision_pb2.SegmentResponse(image_width=encoded.width, image_height=encoded.height)
    if encoded.mask_format == "png":
        _sized(response.class_map, encoded).png = encoded.png
    for place, item in enumerate(encoded.classes):
        added = response.masks.add(label=item.label, index=item.index, score=item.confidence, area=item.coverage)
        if encoded.mask_format == "rle":
            _sized(added.mask, encoded).run_lengths.counts.extend(encoded.masks[place].tolist())
        elif encoded.mask_format == "polygons":
            add_polygons(_sized(added.mask, encoded), encoded.masks[place])
    check_size(response, encoded.mask_format, largest, "PNG")
    return response


def _sized(mask: Any, encoded: EncodedSegmentation) -> Any:
    mask.width, mask.height = encoded.width, encoded.height
    return mask


def _describe(manifest: Manifest, response: Any) -> None:
    """Writes the colours of the classes into a GetModelInfoResponse."""
    colors = SegmentationPostproc.of(manifest).colors
    response.colours.extend(red << 16 | green << 8 | blue for red, green, blue in colors)


MESSAGES = TaskMessages("Segment", "segmentation", _encode, describe=_describe)
