"""The messages of Caption: sentences about an image."""

from __future__ import annotations

from typing import Any

from cvserve.postproc import CaptionResult, Options
from cvserve.protos import vision_pb2
from cvserve.serving.protocols.vision.answers import TaskMessages


def _encode(result: CaptionResult, options: Options, largest: int) -> Any:
    """Returns a cvserve.v1.CaptionResponse."""
    response = vision_pb2.CaptionResponse()
    for item in result.captions:
        response.captions.add(text=item.text, log_probability=item.log_probability)
    return response


MESSAGES = TaskMessages("Caption", "caption", _encode)
