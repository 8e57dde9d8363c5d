"""onnxruntime on NVIDIA's GPUs: CUDA's libraries found, what a session is told, and no quiet way back to the CPU.

A session computes one shape: onnxruntime 1.20 and later plan every convolution anew whenever the shape of the input is
another one than at the call before (microsoft/onnxruntime#23006). MobileNetV2 on an H100 took 0.5 to 0.9 s a call with
batches of 1 and 8 in turns, and 1.0 and 1.3 ms with a session for each.

Left to itself onnxruntime goes on with the CPU where CUDA's libraries cannot be loaded, where there is no such GPU, and
where a call fails on it (microsoft/onnxruntime#23372): a server would answer on, many times slower. Here each of these
is an error.
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

KEPT = 8
"""Shapes, of each graph, whose sessions are kept; every one holds the weights and its own workspaces."""


class SessionPerShape:
    """What an InferenceSession does, with one of them for each shape of the inputs.

    Concurrent calls run at the same time; those of a new shape wait for its session, those of others do not. A shape
    that is new costs the opening of a session and its plans, about a second; the server therefore pads batches to few
    sizes and runs each of them before a model is available.
    """

    def __init__(self, open_one: Callable[[], Any], kept: int = KEPT) -> None:
        """Opens the first session, of whichever shape comes first.

        Args:
            open_one: opens the graph.
            kept: of the shapes used last.
        """
        self._open_one, self._kept = open_one, kept
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
            Unavailable, DeviceLost: no further session could be opened on the GPU.
            Whatever onnxruntime raises.
        """
        shapes = tuple(array.shape for array in feed.values())
        found, to_open = self._place_of(shapes)
        try:
            if to_open:
                self._open_into(found, shapes)
            return found.result().run(names, feed)
        except FailedPrecondition as error:
            # Of a graph that was opened before: it is the GPU that has changed.
            raise (DeviceLost if is_lost(error) else Unavailable)(str(error)) from error
        except Exception as error:
            if is_of_memory(error) or is_of_the_gpu(error):
                self._forget(shapes, found)
            raise
        finally:
            # An exception that it holds would hold it in turn, and sessions with it, until the collector comes.
            del found

    def _place_of(self, shapes: Shapes) -> tuple[Future[Any], bool]:
        """Where the session of these shapes is or will be, and whether the caller is to open it."""
        with self._lock:
            found = self._of_shapes.pop(shapes, None)
            new = found is None
            if found is None:
                while len(self._of_shapes) >= self._kept:
                    # Its memory goes with the last call that runs on it.
                    self._of_shapes.popitem(last=False)
                found = Future()
                if self._first is not None:
                    found.set_result(self._first)
                    self._first, new = None, False
            self._of_shapes[shapes] = found
        return found, new

    def _open_into(self, place: Future[Any], shapes: Shapes) -> None:
        try:
            place.set_result(self._open_one())
        except BaseException as error:
            self._forget(shapes, place)
            # Whoever waits hears the same.
            place.set_exception(error)
            raise
        finally:
            del place  # as in `run`

    def _forget(self, shapes: Shapes, place: Future[Any]) -> None:
        """Gives up a session that could not do its work, and what it holds: others may need that memory."""
        with self._lock:
            if self._of_shapes.get(shapes) is place:
                del self._of_shapes[shapes]


def open_session(runtime: Any, path: Path, options: Any, device: Device, resources: Resources) -> SessionPerShape:
    """Sessions that run on the GPU; operations that CUDA does not have run on the CPU.

    With a limit of the memory, which each session has for itself, only the session of the last shape is kept.

    Args:
        runtime: the module onnxruntime.
        path: the graph.
        options: the session's.
        device: which GPU.
        resources: how much of its memory.

    Raises:
        FailedPrecondition: this onnxruntime is one without CUDA, CUDA's libraries are missing, or the GPU is.
        Whatever onnxruntime raises about the file.
    """
    if PROVIDER not in runtime.get_available_providers():
        raise FailedPrecondition(
            f"this onnxruntime has no CUDA, so it cannot use {device}; pip uninstall onnxruntime, then {_INSTALL}"
        )
    providers = [(PROVIDER, provider_options(device, resources)), "CPUExecutionProvider"]
    # It warns at every session that there is no plugin for the GPU, which none needs.
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

    return SessionPerShape(open_one, KEPT if resources.gpu_memory_mib is None else 1)


def provider_options(device: Device, resources: Resources) -> dict[str, Any]:
    """What CUDA is told (onnxruntime's documentation, "CUDA Execution Provider")."""
    options: dict[str, Any] = {
        "device_id": device.index,
        "use_tf32": int(resources.gpu_tf32),
        # The default tries every algorithm: the first answer of a shape comes 3.6 times as late, and the next ones are
        # 1.05 times as quick (benchmarks/gpu.py, the middle of 28), by what won that time.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    if resources.gpu_memory_mib is not None:
        options["gpu_mem_limit"] = resources.gpu_memory_mib << 20
    if resources.gpu_memory_growth:
        # By what is asked for, rather than by doubling what there is.
        options["arena_extend_strategy"] = "kSameAsRequested"
    return options


def _load_libraries(runtime: Any) -> None:
    """Those that pip installed (nvidia-cudnn-cu13, ...), which no loader finds by itself. What it prints about those
    that are not there is left out: `open_session` says it where it matters."""
    preload = getattr(runtime, "preload_dlls", None)
    # Once, and by one thread: the standard output is the whole process's.
    with _LOADING:
        if preload is not None and not any(runtime is known for known in _LOADED):
            _LOADED.append(runtime)
            with redirect_stdout(io.StringIO()):
                preload()


def _why_not(runtime: Any) -> str:
    """What the loader says of CUDA's half of onnxruntime."""
    library = Path(runtime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        text = str(error)
        if "undefined symbol" not in text:  # which onnxruntime itself brings
            return text
    return "it went back to the CPU without a reason"
