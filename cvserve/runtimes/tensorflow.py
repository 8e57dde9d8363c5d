"""Runs SavedModels with TensorFlow."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.artifact import Quantization
from cvserve.errors import ArtifactError, FailedPrecondition, InvalidInput, NotFound, OutOfMemory
from cvserve.extras import require
from cvserve.runtimes.base import TensorInfo
from cvserve.runtimes.checks import BYTES, check_inputs, check_outputs
from cvserve.runtimes.device import Resources, check_threads, parse_device, usable_cores
from cvserve.runtimes.fixed_batch import any_batch, fixed_batch, run_in_batches
from cvserve.runtimes.quiet import without_startup_messages
from cvserve.runtimes.tensorflow_gpus import set_gpus

_LOG = logging.getLogger(__name__)


class TensorFlowRuntime:
    """Runs one signature of a SavedModel; concurrent calls run at the same time."""

    name = "tensorflow"

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        device: str = "cpu",
        signature: str = "serving_default",
        resources: Resources | None = None,
    ) -> None:
        """Loads the SavedModel.

        Args:
            path: the SavedModel's directory, or its saved_model.pb.
            threads: threads of one operation, for the whole process. TensorFlow uses the number that is set before its
                first operation; later numbers are logged and ignored.
            device: "cpu" or "gpu:N".
            signature: which of the model's signatures `run` calls.
            resources: operations at a time and GPU memory, also for the whole process.

        Raises:
            MissingExtra: TensorFlow is not installed.
            ArtifactError: TensorFlow does not take the files.
            NotFound: no such signature.
            FailedPrecondition: no such device.
        """
        tensorflow = import_tensorflow()
        set_threads(check_threads(threads), resources)
        self._tensorflow = tensorflow
        self._device = device_name(tensorflow, device)
        directory = path.parent if path.name == "saved_model.pb" else path
        try:
            with tensorflow.device(self._device):
                model = tensorflow.saved_model.load(str(directory))
        except (OSError, ValueError, tensorflow.errors.OpError) as error:
            raise ArtifactError(f"TensorFlow cannot load {directory}: {sentence(error)}") from error
        # The loaded object owns the variables: without it the function would use freed memory.
        self._model: Any = model
        self._directory = directory
        self._use(signature)

    def with_signature(self, signature: str) -> TensorFlowRuntime:
        """Returns a runtime of the same loaded model whose `run` calls another signature; each must be closed.

        Raises:
            NotFound: no such signature.
        """
        other = copy.copy(self)
        other._use(signature)
        return other

    def _use(self, signature: str) -> None:
        model = self._model
        signatures = sorted(model.signatures)
        if signature not in signatures:
            has = f"it has {', '.join(signatures)}" if signatures else "it has none"
            raise NotFound(f"{self._directory} has no signature {signature!r}; {has}")
        self._function: Any = model.signatures[signature]
        specs = self._function.structured_input_signature[1]
        inputs = {name: _info(name, spec) for name, spec in sorted(specs.items())}
        outputs = {name: _info(name, spec) for name, spec in self._function.structured_outputs.items()}
        self._unranked = [name for name, spec in specs.items() if spec.shape.rank is None]
        self.batch = None if self._unranked else fixed_batch(inputs, outputs)
        self.quantization: Mapping[str, Quantization] = {}
        self.inputs: Mapping[str, TensorInfo] = inputs if self.batch is None else any_batch(inputs)
        self.outputs: Mapping[str, TensorInfo] = outputs if self.batch is None else any_batch(outputs)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """See `Runtime.run`. String tensors are arrays of dtype object holding bytes."""
        if self._function is None:
            raise FailedPrecondition("this model was closed; load it again")
        names = check_outputs(outputs, self.outputs)
        arrays = check_inputs(inputs, self.inputs, unranked=self._unranked)
        tensorflow, function = self._tensorflow, self._function

        def call(feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            try:
                with tensorflow.device(self._device):
                    answers = function(**{name: tensorflow.constant(array) for name, array in feed.items()})
                    return {name: answers[name].numpy() for name in names}
            except (tensorflow.errors.InvalidArgumentError, tensorflow.errors.UnimplementedError) as error:
                raise InvalidInput(f"TensorFlow cannot run the model on this input: {sentence(error)}") from error
            except tensorflow.errors.ResourceExhaustedError as error:
                text = f"{self._device} has no memory left to run the model on this input: {sentence(error)}"
                raise OutOfMemory(text) from error
            except UnicodeDecodeError as error:  # an error whose text quotes bytes of a string tensor
                raise InvalidInput("TensorFlow cannot run the model on this input: its bytes are refused") from error

        return call(arrays) if self.batch is None else run_in_batches(call, arrays, self.batch)

    def close(self) -> None:
        """See `Runtime.close`."""
        self._function = self._model = None


def import_tensorflow() -> Any:
    """Imports TensorFlow, without its start-up messages unless TF_CPP_MIN_LOG_LEVEL is 0.

    Raises:
        MissingExtra: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with without_startup_messages():
        return require("tensorflow")


def set_threads(threads: int | None, resources: Resources | None = None) -> None:
    """Sets the threads of one operation, the operations at a time and the limits of the GPUs, for the whole process.

    TensorFlow takes them before its first operation; later a warning is logged.
    """
    resources = resources or Resources()
    tensorflow = require("tensorflow")
    set_gpus(tensorflow, resources)
    threading = tensorflow.config.threading
    operations = resources.interop_threads
    if threads is None and operations is None:
        return
    threads = threads or threading.get_intra_op_parallelism_threads()
    operations = operations or max(threads, usable_cores())
    if (
        threading.get_intra_op_parallelism_threads() == threads
        and threading.get_inter_op_parallelism_threads() == operations
    ):
        return
    try:
        threading.set_intra_op_parallelism_threads(threads)
        # One thread here would make concurrent calls, each of one thread, take turns.
        threading.set_inter_op_parallelism_threads(operations)
    except RuntimeError:
        _LOG.warning(
            "TensorFlow is already running in this process with its own number of threads: threads=%d is ignored. "
            "Load the first model with the number you want, or set TF_NUM_INTRAOP_THREADS before the start.",
            threads,
        )


def device_name(tensorflow: Any, device: str) -> str:
    """Returns TensorFlow's name of a device.

    Raises:
        InvalidInput: no such kind of device.
        FailedPrecondition: this machine has no such device.
    """
    wanted = parse_device(device)
    with without_startup_messages():  # the first such call starts TensorFlow's devices
        devices = tensorflow.config.list_logical_devices(wanted.kind.upper())
    if wanted.index >= len(devices):
        raise FailedPrecondition(f"TensorFlow sees no device {device}; it sees {len(devices)} of kind {wanted.kind}")
    return str(devices[wanted.index].name)


def _info(name: str, spec: Any) -> TensorInfo:
    dtype = BYTES if spec.dtype.name == "string" else spec.dtype.name
    return TensorInfo(name, dtype, () if spec.shape.rank is None else tuple(spec.shape.as_list()))


def sentence(error: Exception) -> str:
    """Returns the line of TensorFlow's message with the reason, without its list of nodes."""
    lines = [line.strip() for line in str(getattr(error, "message", error)).splitlines() if line.strip()]
    plain = [line for line in lines if not line.startswith(("Graph execution error", "Detected at node", "{{"))]
    return (plain or lines or [type(error).__name__])[0]
