"""Reads text files of protocol buffers as TensorFlow Serving does, with its error texts."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from cvserve.errors import InvalidInput, NotFound

Proto = TypeVar("Proto", bound=Message)


def read_text_proto(path: str | Path, kind: type[Proto], *, secret: bool = False) -> Proto:
    """Reads a message in text format.

    Args:
        secret: whether errors give only the place of a mistake, and nothing of the file's content.

    Raises:
        NotFound: no such file. InvalidInput: it cannot be read, or is not such a message.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"{path}; No such file or directory") from error
    except OSError as error:
        raise InvalidInput(f"{path}; {error.strerror or error}") from error
    return parse_text_proto(content, kind, str(path), secret=secret)


def parse_text_proto(content: bytes, kind: type[Proto], path: str, *, secret: bool = False) -> Proto:
    """Reads a message from the content of a file.

    Raises:
        InvalidInput: it is not such a message.
    """
    try:
        return text_format.Parse(content.decode("utf-8"), kind())
    except text_format.ParseError as error:
        reason = " ".join(str(error).split())
        if secret:
            reason = f"{error.GetLine()}:{error.GetColumn()} : not a field of {kind.DESCRIPTOR.name} or not its value"
        cause = None if secret else error
    except UnicodeDecodeError as error:
        reason, cause = f"byte {error.start} is not UTF-8", None
    text = f"Error parsing text-format {kind.DESCRIPTOR.full_name}: {reason} (Invalid protobuf file: '{path}')"
    # The names of messages are TensorFlow Serving's, whatever our own package is.
    raise InvalidInput(text.replace("cvserve.model_server.", "tensorflow.serving.")) from cause
