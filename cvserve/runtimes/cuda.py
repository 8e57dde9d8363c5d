"""Opens onnxruntime sessions on NVIDIA GPUs: loads CUDA's libraries, sets the options, and never falls back to the CPU.

Each session computes one shape: onnxruntime 1.20 and later plan all convolutions again whenever the shape of the input
differs from that of the call before (microsoft/onnxruntime#23006). MobileNetV2 on an H100 took 0.5 to 0.9 s a call with
batches of 1 and 8 in turns, and 1.0 and 1.3 ms with a session for each.

By default onnxruntime continues on the CPU where CUDA's libraries cannot be loaded, where there is no such GPU, and
where a call fails on it (microsoft/onnxruntime#23372). A server would go on, many times slower. Here each of these is
an error.
"""

from __future__ import annotations

import ctypes
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.errors import DeviceLost, FailedPrecondition, Unavailable
from cvserve.runtimes.device import Device, Resources
from cvserve.runtimes.onnx_errors import failures, first_line, is_lost, is_of_memory, is_of_the_gpu

PROVIDER = "CUDAExecutionProvider"

_INSTALL = "pip install 'onnxruntime-gpu[cuda,cudnn]'"
_ERRORS_ONLY = 3

_LOADING = threading.Lock()
_LOADED: list[Any] = []
"""Modules whose libraries have been loaded."""

Shapes = tuple[tuple[int, ...], ...]

MAX_SESSIONS = 8
"""Number of sessions of a graph that stay open, one for each shape; each holds the weights and its own workspaces."""


class SessionPerShape:
    """Behaves like an InferenceSession, but opens a session for each shape of the inputs.

    Concurrent calls run at the same time. Calls of a new shape wait until its session is open; calls of other shapes do
    not. A new shape takes about a second, for the session and its plans. The server therefore pads batches to few sizes
    and runs each of them before a model is available.
    """

    def __init__(self, open_one: Callable[[], Any], max_sessions: int = MAX_SESSIONS) -> None:
        """Opens the first session, which serves the first shape that comes.

        Args:
            open_one: opens the graph.
            max_sessions: the number that stay open; the least recently used one is dropped.
        """
        self._open_one, self._max_sessions = open_one, max_sessions
        self._first: Any = open_one()
        self._inputs, self._outputs = self._first.get_inputs(), self._first.get_outputs()
        self._of_shapes: OrderedDict[Shapes, Future[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get_inputs(self) -> Any:
        """See InferenceSession."""
        return self._inputs

    def get_outputs(self) -> Any:
        """See InferenceSession."""
        return self._outputs

    def run(self, names: Sequence[str], feed: Mapping[str, np.ndarray]) -> Any:
        """See InferenceSession.

        Raises:
            Unavailable, DeviceLost: a new session could not be opened on the GPU.
            Exception: whatever onnxruntime raises.
        """
        shapes = tuple(array.shape for array in feed.values())
        session, to_open = self._future_of(shapes)
        try:
            if to_open:
                self._open_into(session, shapes)
            return session.result().run(names, feed)
        except FailedPrecondition as error:
            # The graph could be opened before, so the cause is the GPU.
            raise (DeviceLost if is_lost(error) else Unavailable)(str(error)) from error
        except Exception as error:
            if is_of_memory(error) or is_of_the_gpu(error):
                self._forget(shapes, session)
            raise
        finally:
            # A stored exception refers to this frame, which would refer to it and its sessions until a collection.
            del session

    def _future_of(self, shapes: Shapes) -> tuple[Future[Any], bool]:
        """Returns the future session of these shapes, and whether the caller must open it."""
        with self._lock:
            future = self._of_shapes.pop(shapes, None)
            new = future is None
            if future is None:
                while len(self._of_shapes) >= self._max_sessions:
                    # Its memory is freed after the last call that runs on it.
                    self._of_shapes.popitem(last=False)
                future = Future()
                if self._first is not None:
                    future.set_result(self._first)
                    self._first, new = None, False
            self._of_shapes[shapes] = future
        return future, new

    def _open_into(self, future: Future[Any], shapes: Shapes) -> None:
        try:
            future.set_result(self._open_one())
        except BaseException as error:
            self._forget(shapes, future)
            # Calls that wait get the same error.
            future.set_exception(error)
            raise
        finally:
            del future  # as in `run`

    def _forget(self, shapes: Shapes, future: Future[Any]) -> None:
        """Drops a session that failed, and its memory, which others may need."""
        with self._lock:
            if self._of_shapes.get(shapes) is future:
                del self._of_shapes[shapes]


def open_session(runtime: Any, path: Path, options: Any, device: Device, resources: Resources) -> SessionPerShape:
    """Opens sessions on the GPU; operations that CUDA does not have run on the CPU.

    A limit of the memory holds for each session, so only the session of the last shape stays open then.

    Args:
        runtime: the module onnxruntime.
        path: the graph.
        options: the session's.
        device: which GPU.
        resources: how much of its memory.

    Raises:
        FailedPrecondition: this onnxruntime is one without CUDA, CUDA's libraries are missing, or the GPU is.
        Exception: whatever onnxruntime raises about the file.
    """
    if PROVIDER not in runtime.get_available_providers():
        raise FailedPrecondition(
            f"this onnxruntime has no CUDA, so it cannot use {device}; pip uninstall onnxruntime, then {_INSTALL}"
        )
    providers = [(PROVIDER, provider_options(device, resources)), "CPUExecutionProvider"]
    # It warns at every session that there is no plugin for the GPU; none is needed.
    runtime.set_default_logger_severity(_ERRORS_ONLY)
    _load_libraries(runtime)
    kinds = failures(runtime)

    def open_one() -> Any:
        try:
            session = runtime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
        except kinds as error:
            if is_of_the_gpu(error) and not is_of_memory(error):
                raise FailedPrecondition(f"onnxruntime cannot use {device}: {first_line(error)}") from error
            raise
        if PROVIDER not in session.get_providers():
            raise FailedPrecondition(f"onnxruntime cannot use {device}: {_why_not(runtime)}; try {_INSTALL}")
        return session

    return SessionPerShape(open_one, MAX_SESSIONS if resources.gpu_memory_mib is None else 1)


def provider_options(device: Device, resources: Resources) -> dict[str, Any]:
    """Returns the options of CUDA (onnxruntime's documentation, "CUDA Execution Provider")."""
    options: dict[str, Any] = {
        "device_id": device.index,
        "use_tf32": int(resources.gpu_tf32),
        # The default tries every algorithm: the first answer of a shape takes 3.6 times as long, and the next ones are
        # 1.05 times as fast (benchmarks/gpu.py, the median of 28).
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    if resources.gpu_memory_mib is not None:
        options["gpu_mem_limit"] = resources.gpu_memory_mib << 20
    if resources.gpu_memory_growth:
        # Grows by the requested amount, not by doubling.
        options["arena_extend_strategy"] = "kSameAsRequested"
    return options


def _load_libraries(runtime: Any) -> None:
    """Loads the libraries that pip installed (nvidia-cudnn-cu13, ...), which no loader finds by itself.

    Its messages about missing libraries are hidden; `open_session` reports those that matter.
    """
    preload = getattr(runtime, "preload_dlls", None)
    # Once, and by one thread, since the standard output is shared by the whole process.
    with _LOADING:
        if preload is not None and not any(runtime is known for known in _LOADED):
            _LOADED.append(runtime)
            with redirect_stdout(io.StringIO()):
                preload()


def _why_not(runtime: Any) -> str:
    """Returns why the library for CUDA in onnxruntime cannot be loaded."""
    library = Path(runtime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        text = str(error)
        if "undefined symbol" not in text:  # those are in onnxruntime itself
            return text
    return "it went back to the CPU without a reason"
