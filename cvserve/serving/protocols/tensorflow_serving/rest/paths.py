"""Parses the path of a REST request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import unquote_to_bytes

from cvserve.errors import InvalidInput
from cvserve.serving.core.engine import ModelRef

PREFIX = "/v1/"

Method = Literal["predict", "classify", "regress", "status", "metadata"]

# TensorFlow Serving's own patterns (http_rest_api_util.cc).
_MODEL = r"(?i:/v1/models(?:/([^/:]+))%s(?:(?:/(?i:versions)/([0-9]+))|(?:/(?i:labels)/([^/:]+)))?)"
_POST = re.compile(_MODEL % "" + r":((?i:classify|regress|predict))", re.ASCII)
_GET = re.compile(_MODEL % "?" + r"(?i:/(metadata))?", re.ASCII)

_LARGEST_VERSION = 2**63 - 1


@dataclass(frozen=True)
class Route:
    """Holds the request of a path. what: the method. model: the model."""

    what: Method
    model: ModelRef


def route(method: str, path: str) -> Route:
    """Returns the method and model of a request to the REST API.

    Args:
        method: the HTTP method, in capitals.
        path: the path as it was sent, not decoded, without the query.

    Raises:
        InvalidInput: the API has no such path; the text is TensorFlow Serving's.
    """
    if method == "POST" and (match := _POST.fullmatch(path)):
        name, version, label, what = match.groups()
        return Route(cast(Method, what.lower()), _model(name, version, label))
    if method == "GET" and (match := _GET.fullmatch(path)):
        name, version, label, metadata = match.groups()
        if name is None:
            raise InvalidInput("Missing model name in request.")
        return Route("metadata" if metadata else "status", _model(name, version, label))
    raise InvalidInput(f"Malformed request: {method} {path}")


def _model(name: str, version: str | None, label: str | None) -> ModelRef:
    name = _decoded(name, "model name")
    if label is not None:
        return ModelRef(name, label=_decoded(label, "model version label"))
    if version is None:
        return ModelRef(name)
    # The length is checked first, since Python refuses to convert thousands of digits.
    if len(version.lstrip("0")) > 19 or int(version) > _LARGEST_VERSION:
        raise InvalidInput(f"Failed to convert version: {version} to numeric.")
    return ModelRef(name, int(version))


def _decoded(text: str, what: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"Failed to decode {what}:{text}") from None
