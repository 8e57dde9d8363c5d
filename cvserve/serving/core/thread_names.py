"""Names the server's threads, as `top -H`, `ps -L` and debuggers show them. Does nothing on systems other than
Linux."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

GRAPHS = "run "
"""Start of the name of a worker (then model, version and number), and of threads that a runtime starts for graphs."""

OF_TENSORFLOW = "tf_"
"""Start of the name of TensorFlow's threads, which run the graphs of all its models."""

DECODING = "decode-"
"""Start of the name of a thread that decodes images (then its number)."""

MAX_BYTES = 15
"""Number of bytes of a name that Linux keeps."""


def name_thread(name: str) -> None:
    """Names the calling thread, and those that it will start, for the system.

    Args:
        name: the new name, of which Linux keeps the first `MAX_BYTES` bytes.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            # Linux would cut in the middle of a character of several bytes.
            shortened = name.encode(errors="replace")[:MAX_BYTES].decode(errors="ignore")
            Path("/proc/thread-self/comm").write_text(shortened, encoding="utf-8")
