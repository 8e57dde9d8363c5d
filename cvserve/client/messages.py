"""Makes the requests of both clients, and reads the answers that are the same for all tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cvserve import errors
from cvserve.client.failures import STATUS_OF_NUMBER, fault
from cvserve.client.task_result import reader_of
from cvserve.postproc.mask_formats import check_mask_format
from cvserve.postproc.results import Result
from cvserve.protos import vision_pb2

Image = str | Path | bytes | np.ndarray
"""An image: a path, encoded bytes, or a uint8 array [H, W], [H, W, 3] (RGB) or [H, W, 4] (RGBA)."""

LARGEST_NUMBER, LARGEST_VERSION = 2**31 - 1, 2**63 - 1
"""The largest number that a field of vision.proto holds."""


@dataclass(frozen=True)
class ModelInfo:
    """Holds what a server reports about a model.

    version: the version that answered. versions: all that are available. labels: in index order. input_height,
    input_width: the network's input size in pixels. runtime: "tensorflow", "onnx" or "litert". version_labels: labels
    and the versions that they stand for. colors: RGB of each class of a segmentation model, in index order; may be
    empty. has_masks: whether the objects of a detection model have masks. A model without a manifest has task "", no
    labels and no size.
    """

    name: str
    version: int
    versions: tuple[int, ...]
    task: str
    labels: tuple[str, ...]
    input_height: int
    input_width: int
    runtime: str
    version_labels: Mapping[str, int] = field(default_factory=dict)
    colors: tuple[tuple[int, int, int], ...] = ()
    has_masks: bool = False


@dataclass(frozen=True)
class FrameAnswer:
    """Holds the answer to one frame of a stream: a result, or an error.

    frame: its place in the stream, from 0. version: the version of the model that answered. The task of the model
    decides the type of the result.
    """

    frame: int
    version: int | None = None
    result: Result | None = None
    error: errors.CvserveError | None = None

    @property
    def value(self) -> Result:
        """Returns the result.

        Raises:
            CvserveError: the frame's error.
        """
        if self.error is not None:
            raise self.error
        assert self.result is not None, "one of the two"
        return self.result


def encoded(image: Image) -> bytes:
    """Returns the bytes to send: files and bytes as they are, arrays as PNG.

    Raises:
        NotFound: no such file. ImageError: the array is not an image.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | Path):
        try:
            return Path(image).read_bytes()
        except FileNotFoundError as error:
            raise errors.NotFound(f"no image at {image}") from error
        except OSError as error:
            raise errors.ImageError(str(image), f"cannot be read: {error.strerror}") from error
    if isinstance(image, np.ndarray):
        return _png(image)
    raise errors.InvalidInput(f"an image is a path, bytes or an array, not {type(image).__name__}")


def _png(image: np.ndarray) -> bytes:
    import cv2

    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
        raise errors.ImageError(
            "array", f"it must be uint8 [H, W], [H, W, 3] or [H, W, 4], not {image.dtype} {list(image.shape)}"
        )
    if not image.size:
        raise errors.ImageError("array", "it has no pixels")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    # Level 1: PNG's higher levels save little on photographs and take ten times as long.
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise errors.ImageError("array", "OpenCV cannot write it as PNG")
    return data.tobytes()


@dataclass(frozen=True)
class Ask:
    """Holds the model of a request, and the options of its answer.

    version, label: None for both is the newest. top_k: None is the model's own default. score_threshold: only classes
    or objects with at least this score, 0 to 1. max_results: the largest number of them. mask_format: one of
    `cvserve.postproc.MASK_FORMATS`; None is "png" for class maps, "rle" for the masks of objects.
    """

    model: str
    version: int | None = None
    label: str | None = None
    top_k: int | None = None
    score_threshold: float | None = None
    max_results: int | None = None
    mask_format: str | None = None

    def __post_init__(self) -> None:
        """
        Raises:
            InvalidInput: a value that servers refuse.
        """
        for name, number in (("top_k", self.top_k), ("max_results", self.max_results)):
            if number is not None and number < 1:
                raise errors.InvalidInput(f"{name} must be at least 1, not {number}")
            if number is not None and number > LARGEST_NUMBER:
                raise errors.InvalidInput(f"{name} must be at most {LARGEST_NUMBER}, not {number}")
        if self.score_threshold is not None and not 0 <= self.score_threshold <= 1:
            raise errors.InvalidInput(f"score_threshold must be between 0 and 1, not {self.score_threshold:g}")
        if self.version is not None and not 0 <= self.version <= LARGEST_VERSION:
            raise errors.InvalidInput(f"version must be between 0 and {LARGEST_VERSION}, not {self.version}")
        if self.mask_format is not None:
            check_mask_format(self.mask_format)
        if self.version is not None and self.label is not None:
            raise errors.InvalidInput(f"ask for version {self.version} or for label {self.label!r}, not for both")

    @property
    def spec(self) -> Any:
        """Returns a cvserve.v1.ModelSpec."""
        return vision_pb2.ModelSpec(name=self.model, version=self.version, label=self.label)

    @property
    def options(self) -> Any:
        """Returns a cvserve.v1.Options; None where only top_k is set, which has a field of its own."""
        if self.score_threshold is None and self.max_results is None and self.mask_format is None:
            return None
        return vision_pb2.Options(
            score_threshold=self.score_threshold, max_results=self.max_results, mask_format=self._mask_number
        )

    def classify(self, image: Image) -> Any:
        """Returns a cvserve.v1.ClassifyRequest."""
        return vision_pb2.ClassifyRequest(
            model=self.spec, image=encoded(image), top_k=self.top_k or 0, options=self.options
        )

    def detect(self, image: Image) -> Any:
        """Returns a cvserve.v1.DetectRequest."""
        return vision_pb2.DetectRequest(model=self.spec, image=encoded(image), options=self.options)

    def segment(self, image: Image) -> Any:
        """Returns a cvserve.v1.SegmentRequest."""
        return vision_pb2.SegmentRequest(model=self.spec, image=encoded(image), options=self.options)

    def frame(self, number: int, image: Image, timeout: float | None) -> Any:
        """Returns a cvserve.v1.StreamRequest; the first one names the model for all.

        Args:
            timeout: seconds after which the answer is not wanted any more.
        """
        options = vision_pb2.Options(
            top_k=self.top_k,
            score_threshold=self.score_threshold,
            max_results=self.max_results,
            mask_format=self._mask_number,
        )
        # The field of the proto holds 24 days at most.
        milliseconds = 0 if timeout is None else max(1, round(min(timeout * 1000, LARGEST_NUMBER)))
        return vision_pb2.StreamRequest(
            model=None if number else self.spec,
            frame_id=number,
            image=encoded(image),
            timeout_ms=milliseconds,
            options=options,
        )

    @property
    def _mask_number(self) -> vision_pb2.MaskFormat | None:
        return None if self.mask_format is None else _MASK_NUMBERS[self.mask_format]


_MASK_NUMBERS = {
    "png": vision_pb2.MASK_FORMAT_PNG,
    "rle": vision_pb2.MASK_FORMAT_RUN_LENGTHS,
    "polygons": vision_pb2.MASK_FORMAT_POLYGONS,
    "none": vision_pb2.MASK_FORMAT_NONE,
}


def caption_request(ask: Ask, image: Image) -> Any:
    """Returns a cvserve.v1.CaptionRequest."""
    return vision_pb2.CaptionRequest(model=ask.spec, image=encoded(image), options=ask.options)


def info_request(model: str, version: int | None, label: str | None) -> Any:
    """Returns a cvserve.v1.GetModelInfoRequest."""
    return vision_pb2.GetModelInfoRequest(model=Ask(model, version, label).spec)


def frame_answer(response: Any, target: str) -> FrameAnswer:
    """Returns the typed value in a cvserve.v1.StreamResponse."""
    kind = response.WhichOneof("answer")
    reader = reader_of(kind)
    if reader is not None:
        answer = getattr(response, reader.stream_field)
        return FrameAnswer(response.frame_id, answer.model.version, reader.read(answer))
    if kind != "error":
        what = "nothing" if kind is None else f"a {kind}"
        return FrameAnswer(
            response.frame_id, error=errors.Unimplemented(f"{target} answered {what}, which this client cannot read")
        )
    error = response.error
    retry_after = error.retry_after_ms / 1000 or None
    failure = fault(STATUS_OF_NUMBER.get(error.code), f"{target}: {error.message}", retry_after)
    return FrameAnswer(response.frame_id, error=failure)


def model_info(response: Any) -> ModelInfo:
    """Returns the typed value in a cvserve.v1.GetModelInfoResponse."""
    return ModelInfo(
        name=response.model.name,
        version=response.model.version,
        versions=tuple(response.versions),
        task=response.task,
        labels=tuple(response.labels),
        input_height=response.input_height,
        input_width=response.input_width,
        runtime=response.runtime,
        version_labels=dict(response.version_labels),
        colors=tuple((color >> 16 & 255, color >> 8 & 255, color & 255) for color in response.colours),
        has_masks=response.has_masks,
    )
