"""Memory back to the system after a model has gone."""

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
