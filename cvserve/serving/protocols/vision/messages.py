"""Converts the messages of cvserve.v1 from and to the values of the core. For results see `answers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from cvserve.errors import InvalidInput, Overloaded
from cvserve.postproc import Options
from cvserve.protos import vision_pb2
from cvserve.serving.core.engine import ModelInfo, ModelRef
from cvserve.serving.errors import status_of, text_of
from cvserve.serving.protocols.vision.answers import MESSAGES

_MASK_FORMATS: dict[int, str | None] = {
    vision_pb2.MASK_FORMAT_UNSPECIFIED: None,
    vision_pb2.MASK_FORMAT_PNG: "png",
    vision_pb2.MASK_FORMAT_RUN_LENGTHS: "rle",
    vision_pb2.MASK_FORMAT_POLYGONS: "polygons",
    vision_pb2.MASK_FORMAT_NONE: "none",
}


def options_of(options: Any, top_k: int) -> Options:
    """Converts a cvserve.v1.Options.

    Args:
        top_k: the value that the request gives outside of the options, 0 for none.

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
    """Returns the model that a cvserve.v1.ModelSpec names.

    Raises:
        InvalidInput: both a version and a label.
    """
    version = spec.version if spec.HasField("version") else None
    label = spec.label
    if not label:
        return ModelRef(spec.name, version)
    if version is not None:
        raise InvalidInput(
            f"the request gives both a version ({version}) and a label ({label!r}); give only one of them"
        )
    return ModelRef(spec.name, None, label)


def model_spec(model: ModelRef) -> Any:
    """Returns the cvserve.v1.ModelSpec of a model."""
    return vision_pb2.ModelSpec(name=model.name, version=model.version)


def model_info(info: ModelInfo, labels: Mapping[str, int]) -> Any:
    """Returns a cvserve.v1.GetModelInfoResponse.

    Args:
        labels: the labels of the model's versions.
    """
    response = vision_pb2.GetModelInfoResponse(
        model=model_spec(info.model),
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
        describe = MESSAGES[manifest.task].describe if manifest.task in MESSAGES else None
        if describe is not None:
            describe(manifest, response)
    return response


def frame_error(error: BaseException) -> Any:
    """Returns the cvserve.v1.FrameError of an error, which is in a stream what the status is for a call."""
    status = status_of(error).grpc
    return vision_pb2.FrameError(
        code=getattr(grpc.StatusCode, status).value[0],
        status=status,
        message=text_of(error),
        retry_after_ms=round(error.retry_after * 1000) if isinstance(error, Overloaded) else 0,
    )
