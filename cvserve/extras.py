"""Optional dependencies, imported at the point of use and named when missing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from cvserve.errors import MissingExtra

_EXTRA_OF = {
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "matplotlib": "tensorflow",
    "pycocotools": "tensorflow",
    "onnxruntime": "onnx",
    "onnx": "onnx",
    "tf2onnx": "onnx",
    "ai_edge_litert": "litert",
    "grpc_health": "serve",
    "grpc_reflection": "serve",
    "aiohttp": "serve",
    "opentelemetry": "telemetry",
}


_LISTENING: list[Callable[[], None]] = []


@contextmanager
def telling(listener: Callable[[], None]) -> Iterator[None]:
    """Meanwhile `listener` is called whenever `require` has imported a module that was not there, by the thread that
    imported it and before it is used."""
    _LISTENING.append(listener)
    try:
        yield
    finally:
        _LISTENING.remove(listener)


def require(module: str) -> ModuleType:
    """Imports `module` ("onnxruntime", "ai_edge_litert.interpreter", ...) or says which extra brings it.

    Raises:
        MissingExtra: the package is not installed.
    """
    known = module in sys.modules
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        extra = _EXTRA_OF.get(top, "all")
        raise MissingExtra(f"{top} is not installed: it needs pip install 'cvserve[{extra}]'") from error
    if not known:
        for listener in list(_LISTENING):
            listener()
    return found
