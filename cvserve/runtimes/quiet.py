"""Hides start-up messages of native libraries that no setting turns off.

TensorFlow 2.21 writes its first lines before its logging is set up, whatever TF_CPP_MIN_LOG_LEVEL is, and LiteRT
announces XNNPACK. Both write directly to file descriptor 2. All other lines that are written meanwhile are passed on.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CHATTER = re.compile(
    rb"INFO: Created TensorFlow Lite XNNPACK delegate"
    rb"|WARNING: All log messages before absl::InitializeLog"
    rb"|I\d{4} \d\d:\d\d:\d\d\.\d+ .*\.cc:\d+\]"
    rb"|I0000 00:00:[\d.]+ .*\.cc:\d+\]"
    rb"|E0000 00:00:[\d.]+ .*(cuInit|oneDNN supports DT_UINT8 only)"
)
_STDERR = 2
_lock = threading.RLock()


@contextmanager
def without_startup_messages() -> Iterator[None]:
    """Drops the known start-up lines written to the standard error inside the block; other lines appear at its end.

    TF_CPP_MIN_LOG_LEVEL=0 hides nothing.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    with _lock:
        try:
            original = os.dup(_STDERR)
        except OSError:  # a process without a standard error
            yield
            return
        try:
            with tempfile.TemporaryFile() as captured:
                os.dup2(captured.fileno(), _STDERR)
                try:
                    yield
                finally:
                    os.dup2(original, _STDERR)
                    captured.seek(0)
                    for line in captured:
                        if not _CHATTER.match(line):
                            os.write(_STDERR, line)
        finally:
            os.close(original)
