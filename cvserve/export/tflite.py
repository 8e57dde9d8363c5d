"""Writes TFLite from the written SavedModel, in a child process with a time limit.

The converter can crash its process: quantising a decoding loop ends in a segmentation fault. Only built-in operations
are used, since no Python package can run TensorFlow's own operations in TFLite.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cvserve.errors import ExportError
from cvserve.extras import require

TIME_LIMIT_SECONDS = 900.0
_CHILD = "cvserve.export.tflite_child"


def write_tflite(
    saved_model: Path, path: Path, *, signatures: Sequence[str] = (), time_limit: float = TIME_LIMIT_SECONDS
) -> Path:
    """Converts `serving_default` of a SavedModel to `path`: float32, any batch size.

    Args:
        saved_model: the SavedModel's directory.
        signatures: extra signatures to convert as well; all share their weights.
        time_limit: seconds after which the conversion is given up.

    Raises:
        ExportError: TFLite cannot hold the network, or the conversion died or took too long.
    """
    require("tensorflow")
    # The directory of this very cvserve, wherever it was imported from.
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": os.pathsep.join(paths)}
    # Not -I, which would also hide the user's own site directories.
    command = [sys.executable, "-m", _CHILD, str(saved_model), str(path), "serving_default", *signatures]
    try:
        process = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=time_limit, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"the conversion to TFLite was given up after {time_limit:.0f} s") from error
    if process.returncode or not path.is_file():
        raise ExportError(f"TFLite cannot hold this network: {_reason(process)}")
    return path


def _reason(process: subprocess.CompletedProcess[bytes]) -> str:
    """Returns the error that the child printed, or how it ended."""
    text = process.stderr.decode("utf-8", "replace")
    if process.returncode < 0:
        return f"the converter died of signal {-process.returncode}"
    marked = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("cvserve:")]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (marked or lines or [f"the converter ended with code {process.returncode}"])[-1][:400]
