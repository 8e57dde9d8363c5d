"""Makes the answers of VisionService: which method a model answers, and the message of a result. One table of tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cvserve.artifact import Manifest
from cvserve.errors import FailedPrecondition
from cvserve.postproc import Options, Result
from cvserve.tasks import TaskTable

Encode = Callable[[Any, Options, int], Any]
"""A function that makes a response, without its model, from a result, the request's options and the largest message
in bytes.

Called on a worker's thread, since masks may have a million numbers.

Raises:
    InvalidInput: the message would be larger.
"""


@dataclass(frozen=True)
class TaskMessages:
    """Describes the messages of one task.

    method: the method of VisionService. stream_field: the field of a StreamResponse. encode: makes the response of the
    method. encode_masks: makes the responses of other methods, by their names, for a model whose objects have masks.
    describe: writes the fields of a GetModelInfoResponse that only this task has.
    """

    method: str
    stream_field: str
    encode: Encode
    encode_masks: Mapping[str, Encode] = field(default_factory=dict)
    describe: Callable[[Manifest, Any], None] | None = None


MESSAGES: TaskTable[TaskMessages] = TaskTable("cvserve.serving.protocols.vision.tasks", "MESSAGES", what="message")


def check_method(manifest: Manifest, method: str | None, name: str) -> None:
    """Checks that a model answers a method.

    Args:
        method: the method of VisionService; None stands for Stream, which takes every task.
        name: the name of the model on the server.

    Raises:
        FailedPrecondition: the model does not answer this method.
    """
    if manifest.task not in MESSAGES:
        raise FailedPrecondition(f"model {name!r} does {manifest.task}, which VisionService has no message for")
    own = MESSAGES[manifest.task]
    if method in (None, own.method) or (manifest.has_masks and method in own.encode_masks):
        return
    wanted = next(task for task in MESSAGES.names() if MESSAGES[task].method == method)
    raise FailedPrecondition(f"model {name!r} does {manifest.task}, not {wanted}; ask it with {own.method}")


def encode_result(result: Result, *, method: str, options: Options, largest: int) -> Any:
    """Returns the response of a method, without its model. See `Encode`."""
    own = MESSAGES[result.task]
    return (own.encode if method == own.method else own.encode_masks[method])(result, options, largest)


def encode_frame(result: Result, *, options: Options, largest: int) -> tuple[str, Any]:
    """Returns the field of a StreamResponse and the message for it, without its model."""
    own = MESSAGES[result.task]
    return own.stream_field, own.encode(result, options, largest)
