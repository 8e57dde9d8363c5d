"""Whether there is an NVIDIA GPU that onnxruntime can use, and how much of its memory is taken."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def need_gpu() -> None:
    """Skips the test that calls it where there is none."""
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA (pip install 'onnxruntime-gpu[cuda,cudnn]')")
    if shutil.which("nvidia-smi") is None or subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode:
        pytest.skip("there is no NVIDIA GPU here")


def used_mib() -> int:
    """Memory that is taken of the first GPU."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
