"""Replays the requests that lie beside a SavedModel before it takes others (TensorFlow Serving's "SavedModel Warmup").

The file is a TFRecord of `PredictionLog`. As in TensorFlow Serving (servables/tensorflow/saved_model_warmup_util.cc), a
request that fails or cannot be read, or too many requests, make the load fail.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.errors import ArtifactError, CvserveError, InvalidInput, Unimplemented
from cvserve.extras import require
from cvserve.protos.tensorflow_serving import PredictionLog
from cvserve.serving.core.batching.execution import RunGraph
from cvserve.serving.core.signatures import CLASSIFY_METHOD, DEFAULT, REGRESS_METHOD, Signature
from cvserve.serving.protocols.tensorflow_serving import examples

FILE = Path("assets.extra/tf_serving_warmup_requests")

MAX_RECORDS = 1000

_LOG = logging.getLogger(__name__)

Run = Callable[[Signature, Mapping[str, np.ndarray], Sequence[str]], dict[str, np.ndarray]]


def replay(directory: Path, signatures: Mapping[str, Signature], runs: Mapping[str, RunGraph]) -> int:
    """Runs the warm-up requests of a version, if it has any, through its graph.

    Args:
        runs: the graph of each signature.

    Returns:
        The number of requests.

    Raises:
        ArtifactError: a request fails or cannot be read, or there are more than MAX_RECORDS.
    """
    file = directory / FILE
    if not file.is_file():
        return 0

    def run(signature: Signature, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        return runs[signature.name](signature.complete(inputs), signature.check_outputs(outputs))

    count = 0
    for record in _records(file):
        try:
            _replay_one(record, signatures, run)
        except CvserveError as error:
            raise ArtifactError(f"warm-up request {count} of {file} fails: {error}") from error
        count += 1
        if count > MAX_RECORDS:
            raise ArtifactError(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}")
    _LOG.info("%d warm-up requests of %s replayed", count, file)
    return count


def _records(file: Path) -> Iterator[Any]:
    from google.protobuf.message import DecodeError

    tensorflow = require("tensorflow")
    dataset = tensorflow.data.TFRecordDataset(str(file))
    try:
        for number, raw in enumerate(dataset.as_numpy_iterator()):
            try:
                yield PredictionLog.FromString(raw)
            except DecodeError as error:
                raise ArtifactError(f"Failed to parse warmup record {number} from {file}") from error
    except tensorflow.errors.DataLossError as error:
        raise ArtifactError(
            f"{file} is damaged: {error.message}. Please verify your warmup data is in TFRecord format."
        ) from error


def _replay_one(log: Any, signatures: Mapping[str, Signature], run: Run) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {name: _array(name, tensor) for name, tensor in request.inputs.items()}
        run(_signature(request.model_spec, signatures), inputs, request.output_filter)
    elif kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        method = CLASSIFY_METHOD if kind == "classify_log" else REGRESS_METHOD
        _infer([(request.model_spec, method)], request.input, signatures, run)
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        _infer([(task.model_spec, task.method_name) for task in request.tasks], request.input, signatures, run)
    elif kind is not None:
        raise Unimplemented(f"Unsupported log_type for warmup: {kind}")


def _infer(tasks: Sequence[tuple[Any, str]], message: Any, signatures: Mapping[str, Signature], run: Run) -> None:
    context = None
    serialised = message.example_list.examples
    if message.WhichOneof("kind") == "example_list_with_context":
        serialised = message.example_list_with_context.examples
        context = message.example_list_with_context.context.SerializeToString()
    strings = examples.merged([example.SerializeToString() for example in serialised], context)
    for spec, method in tasks:
        signature = _signature(spec, signatures)
        run(signature, {examples.INPUTS: strings}, examples.check_task(method, signature))


def _signature(spec: Any, signatures: Mapping[str, Signature]) -> Signature:
    name = spec.signature_name or DEFAULT
    if name not in signatures:
        raise InvalidInput(f'Serving signature key "{name}" not found.')
    return signatures[name]


def _array(name: str, tensor: Any) -> np.ndarray:
    try:
        array: np.ndarray = require("tensorflow").make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"tensor parsing error: {name}") from error
    return array
