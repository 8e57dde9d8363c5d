"""Names of the server's threads, as `top -H`, `ps -L` and debuggers show them (Linux; elsewhere nothing is done)."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

GRAPHS = "run "
"""Before the model, version and number of a worker; and before what a runtime starts for its graphs."""

OF_TENSORFLOW = "tf_"
"""Before what TensorFlow calls its threads, which run the graphs of all its models."""

DECODING = "decode-"
"""Before the number of a thread that decodes images."""

MAX_BYTES = 15
"""Of a name, which Linux keeps."""


def name_thread(name: str) -> None:
    """Names the calling thread, and those that it will start, for the system.

    Args:
        name: the first `MAX_BYTES` bytes of it are kept.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            # The system would cut a character of several bytes in two.
            kept = name.encode(errors="replace")[:MAX_BYTES].decode(errors="ignore")
            Path("/proc/thread-self/comm").write_text(kept, encoding="utf-8")
