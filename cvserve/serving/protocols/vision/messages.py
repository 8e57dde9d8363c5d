"""The messages of cvserve.v1 and the values of the core: the one place that knows both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc
import numpy as np
from google.protobuf.json_format import MessageToDict

from cvserve.artifact import SegmentationPostproc
from cvserve.errors import InvalidInput, Overloaded
from cvserve.postproc import (
    CaptionResult,
    ClassificationResult,
    DetectionResult,
    EncodedSegmentation,
    ObjectMasks,
    Options,
    Result,
    SegmentationResult,
    encode_segmentation,
)
from cvserve.postproc.encoded_masks import DEFAULT_FORMAT, mask_to_png, mask_to_polygons
from cvserve.protos import vision_pb2
from cvserve.serving.core.engine import ImageAnswer, ModelInfo, ModelRef
from cvserve.serving.errors import status_of, text_of

_MASK_FORMATS: dict[int, str | None] = {
    vision_pb2.MASK_FORMAT_UNSPECIFIED: None,
    vision_pb2.MASK_FORMAT_PNG: "png",
    vision_pb2.MASK_FORMAT_RUN_LENGTHS: "rle",
    vision_pb2.MASK_FORMAT_POLYGONS: "polygons",
    vision_pb2.MASK_FORMAT_NONE: "none",
}


def options_of(options: Any, top_k: int) -> Options:
    """A cvserve.v1.Options.

    Args:
        top_k: what the request says outside of the options, 0 where it does not.

    Raises:
        InvalidInput: a value out of its range.
    """
    wanted = options.top_k if options.HasField("top_k") else (top_k or None)
    most = options.max_results if options.HasField("max_results") else None
    for name, number in (("top_k", wanted), ("max_results", most)):
        if number is not None and number < 1:
            raise InvalidInput(f"{name} must be at least 1, not {number}")
    least = options.score_threshold if options.HasField("score_threshold") else None
    # Not `threshold < 0 or threshold > 1`, which a NaN would pass.
    if not 0 <= options.score_threshold <= 1:
        raise InvalidInput(f"score_threshold must be between 0 and 1, not {options.score_threshold:g}")
    if options.mask_format not in _MASK_FORMATS:
        raise InvalidInput(f"mask_format {options.mask_format} is not known to this version")
    return Options(wanted, least, most, _MASK_FORMATS[options.mask_format])


def model_ref(spec: Any) -> ModelRef:
    """The model that a cvserve.v1.ModelSpec names.

    Raises:
        InvalidInput: both a version and a label.
    """
    version = spec.version if spec.HasField("version") else None
    label = spec.label
    if not label:
        return ModelRef(spec.name, version)
    if version is not None:
        raise InvalidInput(f"the model is asked for by version ({version}) and by label ({label!r}); say one of them")
    return ModelRef(spec.name, None, label)


def _model_spec(model: ModelRef) -> Any:
    return vision_pb2.ModelSpec(name=model.name, version=model.version)


def classification(answer: ImageAnswer, options: Options) -> Any:
    """A cvserve.v1.ClassifyResponse."""
    assert isinstance(answer.result, ClassificationResult)
    classes = answer.result.classes
    if options.score_threshold:
        classes = tuple(item for item in classes if item.score >= options.score_threshold)
    if options.max_results is not None:
        classes = classes[: options.max_results]
    response = vision_pb2.ClassifyResponse(model=_model_spec(answer.model))
    # Filled in place, as objects are below.
    for item in classes:
        response.classes.add(label=item.label, index=item.index, score=item.score)
    return response


def detection(answer: ImageAnswer, options: Options) -> Any:
    """A cvserve.v1.DetectResponse. The wishes have been seen to where boxes are suppressed."""
    found = answer.result
    if isinstance(found, InstancesMessage):
        found.response.model.CopyFrom(_model_spec(answer.model))
        return found.response
    assert isinstance(found, DetectionResult)
    response = vision_pb2.DetectResponse(model=_model_spec(answer.model))
    _fill_objects(response, found)
    return response


def _fill_objects(response: Any, found: DetectionResult) -> None:
    """Writes size and objects into a cvserve.v1.DetectResponse."""
    response.image_width, response.image_height = found.image_width, found.image_height
    # Filled in place: half the time of messages made one by one, and this may be the loop's thread.
    for box, score, index in zip(found.boxes.tolist(), found.scores.tolist(), found.indexes.tolist(), strict=True):
        added = response.objects.add(label=found.names[index], index=index, score=score)
        corners = added.box
        corners.x_min, corners.y_min, corners.x_max, corners.y_max = box


@dataclass(frozen=True)
class InstancesMessage:
    """Objects with masks as the message of Detect, in which only the model is missing."""

    response: Any
    task: ClassVar[str] = "detection"

    def to_dict(self) -> dict[str, Any]:
        """The message's fields."""
        return MessageToDict(self.response)


@dataclass(frozen=True)
class SegmentMessage:
    """A segmentation as its message, in which only the model is missing."""

    response: Any
    task: ClassVar[str] = "segmentation"

    def to_dict(self) -> dict[str, Any]:
        """The message's fields."""
        return MessageToDict(self.response)


def encoded(result: Result, options: Options, largest: int) -> Result:
    """What of a result takes long to encode, encoded, on the worker's thread: masks, which may have a million numbers.

    Raises:
        InvalidInput: the answer would be larger than `largest` bytes.
    """
    if isinstance(result, DetectionResult) and result.masks is not None:
        return _encoded_instances(result, result.masks, options.mask_format or DEFAULT_FORMAT, largest)
    if not isinstance(result, SegmentationResult):
        return result
    found = encode_segmentation(result, options.mask_format or "png")
    response = vision_pb2.SegmentResponse(image_width=found.width, image_height=found.height)
    if found.mask_format == "png":
        _sized(response.class_map, found).png = found.png
    for place, item in enumerate(found.classes):
        added = response.masks.add(label=item.label, index=item.index, score=item.confidence, area=item.coverage)
        if found.mask_format == "rle":
            _sized(added.mask, found).run_lengths.counts.extend(found.masks[place].tolist())
        elif found.mask_format == "polygons":
            _add_polygons(_sized(added.mask, found), found.masks[place])
    _check_size(response, found.mask_format, largest, "PNG")
    return SegmentMessage(response)


def _encoded_instances(result: DetectionResult, masks: ObjectMasks, mask_format: str, largest: int) -> Result:
    response = vision_pb2.DetectResponse()
    _fill_objects(response, result)
    for place, added in enumerate(response.objects):
        mask = added.mask
        mask.width, mask.height = masks.width, masks.height
        if mask_format == "rle":
            mask.run_lengths.counts.extend(masks.counts[place].tolist())
        elif mask_format == "polygons":
            _add_polygons(mask, mask_to_polygons(masks, place))
        else:
            mask.png = mask_to_png(masks, place)
    _check_size(response, mask_format, largest, "run lengths")
    return InstancesMessage(response)


def _add_polygons(mask: Any, outlines: Iterable[np.ndarray]) -> None:
    # Set, even with no outline, so that the field tells the format.
    mask.polygons.SetInParent()
    for outline in outlines:
        mask.polygons.polygons.add(points=outline.reshape(-1).tolist())


def _check_size(response: Any, mask_format: str, largest: int, other: str) -> None:
    size = response.ByteSize()
    # With room for the rest of the message.
    if size > largest - 1024:
        raise InvalidInput(
            f"the masks as {mask_format} take {size} bytes, more than the {largest} that a message may have; ask for "
            f"another mask_format, such as {other}"
        )


def _sized(mask: Any, found: EncodedSegmentation) -> Any:
    mask.width, mask.height = found.width, found.height
    return mask


def segmentation(answer: ImageAnswer, options: Options) -> Any:
    """A cvserve.v1.SegmentResponse."""
    found = answer.result
    if isinstance(found, InstancesMessage | DetectionResult):
        objects = detection(answer, options)
        response = vision_pb2.SegmentResponse(
            model=objects.model, image_width=objects.image_width, image_height=objects.image_height
        )
        response.instances.objects.MergeFrom(objects.objects)
        response.instances.SetInParent()
        return response
    assert isinstance(answer.result, SegmentMessage)
    response = answer.result.response
    response.model.CopyFrom(_model_spec(answer.model))
    return response


def captioning(answer: ImageAnswer, options: Options) -> Any:
    """A cvserve.v1.CaptionResponse."""
    assert isinstance(answer.result, CaptionResult)
    response = vision_pb2.CaptionResponse(model=_model_spec(answer.model))
    for item in answer.result.captions:
        response.captions.add(text=item.text, log_probability=item.log_probability)
    return response


RESPONSES: dict[str, tuple[str, Callable[[ImageAnswer, Options], Any]]] = {
    "classification": ("classification", classification),
    "detection": ("detection", detection),
    "segmentation": ("segmentation", segmentation),
    "captioning": ("caption", captioning),
}
"""By task: the field of a StreamResponse, and what makes its message."""


def model_info(info: ModelInfo, labels: Mapping[str, int]) -> Any:
    """A cvserve.v1.GetModelInfoResponse.

    Args:
        labels: of the model's versions.
    """
    response = vision_pb2.GetModelInfoResponse(
        model=_model_spec(info.model),
        versions=info.versions,
        runtime=info.servable.runtime_name,
        version_labels=labels,
    )
    manifest = info.servable.manifest
    if manifest is not None:
        response.task = manifest.task
        response.has_masks = manifest.has_masks
        response.labels.extend(manifest.labels)
        response.input_height, response.input_width = manifest.preproc.height, manifest.preproc.width
        if isinstance(manifest.postproc, SegmentationPostproc):
            colors = manifest.postproc.colors
            response.colours.extend(red << 16 | green << 8 | blue for red, green, blue in colors)
    return response


def frame_error(error: BaseException) -> Any:
    """The cvserve.v1.FrameError that stands in a stream for the status of a call."""
    status = status_of(error).grpc
    return vision_pb2.FrameError(
        code=getattr(grpc.StatusCode, status).value[0],
        status=status,
        message=text_of(error),
        retry_after_ms=round(error.retry_after * 1000) if isinstance(error, Overloaded) else 0,
    )
