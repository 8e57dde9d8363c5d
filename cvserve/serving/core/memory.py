"""Returns memory to the system after a model was unloaded, and keeps the garbage collector from libraries."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Collects garbage in reference cycles, and has the C library return its free pages. Takes milliseconds, on any
    thread.

    glibc keeps freed memory below a page that is still in use; over many changes of versions that adds up.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own; musl has none
        if trim is not None:
            trim(0)


MANY_MODULES = 100
"""This many new modules count as a library: TensorFlow brings 1600, onnxruntime 30."""


class CollectorFreeze:
    """Excludes the objects of imported libraries from garbage collection, since they never become garbage.

    TensorFlow's modules are half a million objects, and full collections that walked through them took a third of the
    event loop's time under load. `update` is to be called between a library's import and its first model: TensorFlow's
    models are reference cycles, and one that was frozen with the library would stay in memory after its unloading.

    Attributes:
        collect: whether garbage is collected before a freeze, which takes a good part of a second after TensorFlow;
            otherwise what is garbage at that moment stays in memory. False once requests are answered.

    """

    def __init__(self) -> None:
        self.collect = True
        self._modules = 0

    def update(self) -> None:
        """Freezes all objects, where a library was imported since the last call."""
        if len(sys.modules) - self._modules < MANY_MODULES:
            return
        if self.collect:
            gc.collect()
        gc.freeze()
        self._modules = len(sys.modules)
