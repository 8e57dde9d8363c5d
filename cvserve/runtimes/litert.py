"""Runs TFLite graphs with LiteRT (ai_edge_litert)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.artifact import Quantization
from cvserve.errors import ArtifactError, FailedPrecondition, InvalidInput, NotFound
from cvserve.extras import require
from cvserve.runtimes.base import TensorInfo
from cvserve.runtimes.checks import check_inputs, check_outputs, fits
from cvserve.runtimes.device import check_threads, parse_device, usable_cores
from cvserve.runtimes.fixed_batch import any_batch, fixed_batch, run_in_batches
from cvserve.runtimes.quiet import without_startup_messages

_MAX_INTERPRETERS = 4
_MAX_INTERPRETER_BYTES = 256 << 20
"""Bytes that limit how many interpreters stay open, one for each input shape: their file sizes add up to at most this.

Each holds its own packed weights (twice the file's size, for ResNet-18), but resizing one takes as long as several
calls: 50 ms for ResNet-18.
"""


class LiteRtRuntime:
    """Runs one file with an interpreter for each batch size; concurrent calls wait for each other.

    Quantised inputs and outputs stay as they are stored; `quantization` has their scale and zero point.
    """

    name = "litert"

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        device: str = "cpu",
        signature: str = "serving_default",
        any_shape: bool = False,
    ) -> None:
        """Opens the graph.

        Args:
            path: the .tflite file.
            threads: threads of one call; None takes every core.
            device: "cpu", the only one that LiteRT has here.
            signature: the signature whose names and tensors are used; of a file without signatures the names of its
                tensors are used.
            any_shape: also run inputs of other shapes than the file declares, as TensorFlow Serving does.

        Raises:
            MissingExtra: ai_edge_litert is not installed.
            ArtifactError: LiteRT does not take the file.
            NotFound: the file has signatures, but not this one.
        """
        if parse_device(device).kind != "cpu":
            raise FailedPrecondition(
                f"the litert runtime runs on the CPU only, not on {device}; use onnx or tensorflow"
            )
        self._library = require("ai_edge_litert.interpreter")
        self._path = path
        self._threads = check_threads(threads) or usable_cores()
        self._lock = threading.Lock()
        self._closed = False
        self._any_shape = any_shape
        self._callers: OrderedDict[tuple[tuple[int, ...], ...], _Caller] = OrderedDict()
        self._content = _read(path)
        self._max_callers = max(1, min(_MAX_INTERPRETERS, _MAX_INTERPRETER_BYTES // max(1, len(self._content))))
        interpreter = self._open()
        keys = sorted(interpreter.get_signature_list())
        if keys and signature not in keys:
            raise NotFound(f"{path} has no signature {signature!r}; it has {', '.join(keys)}")
        self._signature = signature if keys else None
        input_details, output_details = _details(interpreter, self._signature)
        inputs = {name: _info(name, detail) for name, detail in input_details.items()}
        outputs = {name: _info(name, detail) for name, detail in output_details.items()}
        self.quantization: Mapping[str, Quantization] = {
            name: quantization
            for name, detail in (*input_details.items(), *output_details.items())
            if (quantization := _quantization(detail)) is not None
        }
        self.batch = fixed_batch(inputs, outputs)
        self.inputs: Mapping[str, TensorInfo] = inputs if self.batch is None else any_batch(inputs)
        self.outputs: Mapping[str, TensorInfo] = outputs if self.batch is None else any_batch(outputs)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """See `Runtime.run`."""
        names = check_outputs(outputs, self.outputs)
        declared = not self._any_shape or fits(inputs, self.inputs)
        arrays = check_inputs(inputs, self.inputs, unranked=() if declared else self.inputs)
        with self._lock:
            if self._closed:
                raise FailedPrecondition("this model was closed; load it again")
            if self.batch is None or not declared:
                answers = self._call(arrays)
            else:
                answers = run_in_batches(self._call, arrays, self.batch)
        return {name: np.asarray(answers[name]) for name in names}

    def close(self) -> None:
        """See `Runtime.close`."""
        with self._lock:
            self._closed = True
            self._callers.clear()

    def _open(self) -> Any:
        try:
            return self._library.Interpreter(model_content=self._content, num_threads=self._threads)
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"LiteRT cannot load {self._path}: {_sentence(error)}") from error

    def _call(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        shapes = tuple(array.shape for array in feed.values())
        try:
            caller = self._callers.pop(shapes, None)
            if caller is None:
                caller = _Caller(self._open(), self._signature, feed)
            with _quiet_first_time():
                answers = caller.run(feed)
        except (ValueError, RuntimeError) as error:
            raise InvalidInput(f"LiteRT cannot run the model on this input: {_sentence(error)}") from error
        self._callers[shapes] = caller
        if len(self._callers) > self._max_callers:
            self._callers.popitem(last=False)
        return answers


def signature_keys(path: Path) -> list[str]:
    """Returns the names of a file's signatures; older files have none.

    Raises:
        MissingExtra: ai_edge_litert is not installed.
        ArtifactError: LiteRT does not take the file.
    """
    library = require("ai_edge_litert.interpreter")
    try:
        return sorted(library.Interpreter(model_content=_read(path)).get_signature_list())
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(f"LiteRT cannot load {path}: {_sentence(error)}") from error


def _read(path: Path) -> bytes:
    """Reads the file. LiteRT would map it into memory, and crash if it were overwritten while it is in use."""
    if not path.is_file():
        raise ArtifactError(f"{path} is not a file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error


_has_run = False


@contextmanager
def _quiet_first_time() -> Iterator[None]:
    """Hides LiteRT's message about XNNPACK, which it prints once a process, when it allocates an interpreter."""
    global _has_run
    with nullcontext() if _has_run else without_startup_messages():
        yield
    _has_run = True


class _Caller:
    """Calls an interpreter that is allocated for one set of input shapes."""

    def __init__(self, interpreter: Any, signature: str | None, feed: Mapping[str, np.ndarray]) -> None:
        self._interpreter = interpreter
        self._runner = None if signature is None else interpreter.get_signature_runner(signature)
        if self._runner is not None:
            return  # the signature's runner resizes and allocates by itself, at its first call
        details, _ = _details(interpreter, None)
        for name, array in feed.items():
            if tuple(details[name]["shape"]) != array.shape:
                interpreter.resize_tensor_input(details[name]["index"], array.shape)
        with _quiet_first_time():
            interpreter.allocate_tensors()
        self._inputs = {name: detail["index"] for name, detail in details.items()}
        self._outputs = {name: detail["index"] for name, detail in _details(interpreter, None)[1].items()}

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs by name."""
        if self._runner is not None:
            return dict(self._runner(**feed))
        for name, array in feed.items():
            self._interpreter.set_tensor(self._inputs[name], array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def _details(interpreter: Any, signature: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the details of inputs and outputs by name: the names of the signature, or else those of the tensors."""
    if signature is not None:
        runner = interpreter.get_signature_runner(signature)
        return dict(runner.get_input_details()), dict(runner.get_output_details())
    return (
        {detail["name"]: detail for detail in interpreter.get_input_details()},
        {detail["name"]: detail for detail in interpreter.get_output_details()},
    )


def _info(name: str, detail: Mapping[str, Any]) -> TensorInfo:
    signature = detail["shape_signature"]
    sizes = signature if len(signature) else detail["shape"]
    shape = tuple(int(size) if size >= 0 else None for size in sizes)
    return TensorInfo(name, np.dtype(detail["dtype"]).name, shape)


def _quantization(detail: Mapping[str, Any]) -> Quantization | None:
    """Returns scale and zero point of a tensor, None where it is not quantised."""
    scale, zero_point = detail["quantization"]
    if not scale:
        return None
    return Quantization(scale=float(scale), zero_point=int(zero_point))


def _sentence(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
