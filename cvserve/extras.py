"""Imports optional dependencies at the point of use, and names the extra of one that is missing."""

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
    "prometheus_client": "serve",
    "opentelemetry": "telemetry",
}


_LISTENERS: list[Callable[[], None]] = []


@contextmanager
def import_listener(listener: Callable[[], None]) -> Iterator[None]:
    """Calls `listener` inside the block whenever `require` has imported a module that was not loaded before.

    The thread that imported the module calls it, before the module is used.
    """
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)


def require(module: str) -> ModuleType:
    """Imports `module` ("onnxruntime", "ai_edge_litert.interpreter", ...).

    Raises:
        MissingExtra: the package is not installed; the text names the extra that brings it.
    """
    known = module in sys.modules
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        extra = _EXTRA_OF.get(top, "all")
        raise MissingExtra(f"{top} is not installed: it needs pip install 'cvserve[{extra}]'") from error
    if not known:
        for listener in list(_LISTENERS):
            listener()
    return imported
