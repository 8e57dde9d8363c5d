"""Memory back to the system after a model has gone, and what the garbage collector need not look at."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Collects what only cycles hold, and has the C library return its free pages. Takes milliseconds, on any thread.

    glibc keeps what was freed below a page still in use; over many switches of versions that adds up.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own; musl has none
        if trim is not None:
            trim(0)


MANY_MODULES = 100
"""So many new ones are a library: TensorFlow brings 1600, onnxruntime 30."""


class Lasting:
    """Leaves out of every later collection what libraries have brought: it will never be garbage.

    TensorFlow's modules are half a million objects, and full collections that walked through them took a third of the
    event loop's time under load. To be told between a library's import and its first model: TensorFlow's models are
    circles, and one that was left out with the library would stay in memory after it has been unloaded.
    """

    def __init__(self) -> None:
        self._modules = 0

    def keep(self, *, collect: bool) -> None:
        """Looks whether a library was loaded since the last call; if not, this is nothing.

        Args:
            collect: what is garbage now is collected before, which takes a good part of a second after TensorFlow;
                else it stays as it is.
        """
        if len(sys.modules) - self._modules < MANY_MODULES:
            return
        if collect:
            gc.collect()
        gc.freeze()
        self._modules = len(sys.modules)
