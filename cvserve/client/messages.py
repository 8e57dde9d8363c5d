"""What both clients share: requests, answers, and errors as exceptions of cvserve.errors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
import numpy as np

from cvserve import errors
from cvserve.postproc.results import ClassificationResult, ClassScore
from cvserve.protos import vision_pb2

Image = str | Path | bytes | np.ndarray
"""A picture: a path, encoded bytes, or a uint8 array [H, W], [H, W, 3] (RGB) or [H, W, 4] (RGBA)."""

MAX_MESSAGE_BYTES = 64 << 20
"""The server's own default."""

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A server that is back is found again within two seconds, not after gRPC's up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


@dataclass(frozen=True)
class ModelInfo:
    """What a server says of a model.

    version: the one that answered. versions: all that are available. labels: in index order. input_height,
    input_width: pixels that the network sees. runtime: "tensorflow", "onnx" or "litert".
    """

    name: str
    version: int
    versions: tuple[int, ...]
    task: str
    labels: tuple[str, ...]
    input_height: int
    input_width: int
    runtime: str


def encoded(image: Image) -> bytes:
    """The bytes to send: files and bytes as they are, arrays as PNG, which loses nothing.

    Raises:
        NotFound: no such file. ImageError: not a picture's array.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | Path):
        try:
            return Path(image).read_bytes()
        except FileNotFoundError as error:
            raise errors.NotFound(f"no picture at {image}") from error
        except OSError as error:
            raise errors.ImageError(str(image), f"cannot be read: {error.strerror}") from error
    if isinstance(image, np.ndarray):
        return _png(image)
    raise errors.InvalidInput(f"a picture is a path, bytes or an array, not {type(image).__name__}")


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


def classify_request(model: str, image: Image, top_k: int | None, version: int | None) -> Any:
    """A cvserve.v1.ClassifyRequest."""
    if top_k is not None and top_k < 1:
        raise errors.InvalidInput(f"top_k must be at least 1, not {top_k}")
    return vision_pb2.ClassifyRequest(model=_spec(model, version), image=encoded(image), top_k=top_k or 0)


def info_request(model: str, version: int | None) -> Any:
    """A cvserve.v1.GetModelInfoRequest."""
    return vision_pb2.GetModelInfoRequest(model=_spec(model, version))


def _spec(model: str, version: int | None) -> Any:
    return vision_pb2.ModelSpec(name=model, version=version)


def classification(response: Any) -> ClassificationResult:
    """The typed result in a cvserve.v1.ClassifyResponse."""
    return ClassificationResult(tuple(ClassScore(item.label, item.index, item.score) for item in response.classes))


def model_info(response: Any) -> ModelInfo:
    """The typed value in a cvserve.v1.GetModelInfoResponse."""
    return ModelInfo(
        name=response.model.name,
        version=response.model.version,
        versions=tuple(response.versions),
        task=response.task,
        labels=tuple(response.labels),
        input_height=response.input_height,
        input_width=response.input_width,
        runtime=response.runtime,
    )


_KIND_OF: dict[grpc.StatusCode, type[errors.CvserveError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidInput,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unimplemented,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: errors.Cancelled,
}

_NO_SERVER = re.compile(
    r"failed to connect|connection refused|(dns|name) resolution|socket closed|connection reset|broken pipe|goaway"
    r"|no connection established|connection attempt timed out",
    re.IGNORECASE,
)


def never_arrived(error: grpc.RpcError) -> bool:
    """Whether the call ended for want of a connection, and not by a server's word."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and bool(_NO_SERVER.search(error.details() or ""))


def no_server(target: str) -> errors.Unavailable:
    """The error for a target that nobody listens at."""
    return errors.Unavailable(f"no server answers at {target}")


def raise_for(error: grpc.RpcError, target: str, timeout: float | None) -> NoReturn:
    """Raises the exception of cvserve.errors that a failed call means.

    Args:
        timeout: seconds that the call was given.
    """
    code, details = error.code(), error.details() or ""
    if never_arrived(error):
        raise no_server(target) from error
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        raise errors.DeadlineExceeded(f"{target} did not answer within {timeout:g} s") from error
    text = f"{target}: {details or code.name}"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        # gRPC's own answer to a message over the limit, which no second try would change.
        raise errors.InvalidInput(f"{text}: the picture is too large for one message") from error
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        raise errors.Overloaded(text, _retry_after(error)) from error
    raise _KIND_OF.get(code, errors.CvserveError)(text) from error


def _retry_after(error: grpc.RpcError) -> float:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-retry-pushback-ms":
            return int(value) / 1000
    return 0.1
