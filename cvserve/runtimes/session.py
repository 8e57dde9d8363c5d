"""Runs any SavedModel with all its signatures, as a graph in a session, as TensorFlow Serving does.

A session runs the SavedModels of TensorFlow 1 and 2 in the same way: variables, tables and their initialisers, assets,
string tensors. Eager functions, which `cvserve.runtimes.tensorflow` uses, check shapes and have no method names.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.artifact import Quantization
from cvserve.errors import (
    ArtifactError,
    CvserveError,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    OutOfMemory,
    Unimplemented,
)
from cvserve.runtimes import unrestored
from cvserve.runtimes.base import TensorInfo
from cvserve.runtimes.checks import BYTES
from cvserve.runtimes.device import Resources, check_threads
from cvserve.runtimes.tensorflow import device_name, import_tensorflow, sentence, set_threads

SERVE = "serve"
"""The tag of the graph that is for serving (tensorflow/python/saved_model/tag_constants.py)."""

_MAX_CALLABLES = 64
"""Number of different sets of outputs for which a signature's graph is pruned; for others all outputs are computed."""


class SavedModelSession:
    """Holds a loaded SavedModel; concurrent calls of its entries run at the same time.

    definitions: the model's SignatureDefs by their keys. entries: a Runtime for each.
    """

    name = "tensorflow"

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        device: str = "cpu",
        resources: Resources | None = None,
        tags: Sequence[str] = (SERVE,),
    ) -> None:
        """Loads the graph that has the tags, restores its variables and runs its initialisers.

        Args:
            path: the directory with saved_model.pb or saved_model.pbtxt.
            threads: threads of one operation, for the whole process; see `TensorFlowRuntime`.
            device: "cpu", "gpu:N", ...; operations that cannot run there run on the CPU, and those for which the graph
                names a device run on that.
            resources: operations at the same time and GPU memory, also for the whole process.
            tags: a graph must have all of these tags; of several such graphs the one with the fewest others is loaded.

        Raises:
            MissingExtra: TensorFlow is not installed.
            ArtifactError: TensorFlow does not take the files, or none of the graphs is for serving.
            FailedPrecondition: no such device.
        """
        self._tensorflow = import_tensorflow()
        set_threads(check_threads(threads), resources)
        self._closed = False
        where = device_name(self._tensorflow, device)
        graph = self._tensorflow.Graph()
        self._session = self._tensorflow.compat.v1.Session(graph=graph, config=self._config(device))
        try:
            with graph.as_default(), graph.device(where), _without_notices():
                loaded = self._load(path, tags)
        except BaseException:
            self._session.close()
            raise
        self.definitions: Mapping[str, Any] = dict(loaded.signature_def)
        self.entries: Mapping[str, SessionEntry] = {
            key: SessionEntry(self, definition, self._defaults(definition))
            for key, definition in self.definitions.items()
        }

    def close(self) -> None:
        """Frees the memory; no entry can be used any more."""
        self._closed = True
        for entry in self.entries.values():
            entry.drop_callables()
        self._session.close()

    def callable(self, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
        """Returns a function that takes the arrays of the inputs and returns those of the outputs, both in order.

        Args:
            inputs, outputs: names of tensors, such as "x:0".
        """
        if self._closed:
            raise FailedPrecondition("this model was closed; load it again")
        from tensorflow.core.protobuf import config_pb2

        # Session.run would compare shapes with those of the graph's construction; this is the function it calls after
        # that.
        return self._session._make_callable_from_options(config_pb2.CallableOptions(feed=inputs, fetch=outputs))

    def call(self, function: Any, arrays: Sequence[np.ndarray]) -> list[Any]:
        """Calls a function that `callable` returned.

        Raises:
            InvalidInput, FailedPrecondition, NotFound, Unimplemented, OutOfMemory: the graph's error.
        """
        try:
            answers: list[Any] = function(*arrays)
            return answers
        except self._tensorflow.errors.OpError as error:
            fault = self._fault(error)
            if fault is None:
                raise
            raise fault from error
        except UnicodeDecodeError as error:  # an error whose text quotes bytes of a string tensor
            raise InvalidInput("TensorFlow cannot run the model on this input: its bytes are refused") from error

    def _defaults(self, definition: Any) -> dict[str, np.ndarray]:
        return {alias: self._tensorflow.make_ndarray(tensor) for alias, tensor in definition.defaults.items()}

    def _fault(self, error: Any) -> CvserveError | None:
        """Returns the error of cvserve for an error of the graph; None where the client must not see it."""
        errors = self._tensorflow.errors
        kinds: tuple[tuple[Any, type[CvserveError]], ...] = (
            ((errors.InvalidArgumentError, errors.OutOfRangeError), InvalidInput),
            (errors.FailedPreconditionError, FailedPrecondition),
            (errors.NotFoundError, NotFound),
            (errors.UnimplementedError, Unimplemented),
            (errors.ResourceExhaustedError, OutOfMemory),
        )
        for kind, fault in kinds:
            if isinstance(error, kind):
                return fault(sentence(error))
        return None

    def _config(self, device: str) -> Any:
        logical = self._tensorflow.config.list_logical_devices("CPU")
        counts = {"CPU": len(logical)} | ({"GPU": 0} if device.startswith("cpu") else {})
        # A model that names a device that this machine does not have still runs, as in TensorFlow Serving.
        return self._tensorflow.compat.v1.ConfigProto(allow_soft_placement=True, device_count=counts)

    def _load(self, path: Path, tags: Sequence[str]) -> Any:
        loader = self._tensorflow.compat.v1.saved_model.loader
        if not loader.maybe_saved_model_directory(str(path)):
            raise ArtifactError(
                f"{path} holds no SavedModel: Could not find SavedModel .pb or .pbtxt at supplied export directory path"
            )
        errors = (OSError, ValueError, RuntimeError, KeyError, self._tensorflow.errors.OpError)
        try:
            loaded = loader.load(self._session, _all_tags(path, tags), str(path))
            unrestored.restore(self._session, loaded, path)
            return loaded
        except errors as error:
            raise ArtifactError(f"TensorFlow cannot load {path}: {sentence(error)}") from error


class SessionEntry:
    """Runs a signature of a SavedModel. Names are those of the signature; shapes are not checked.

    Inputs and outputs that are not plain tensors (sparse, composite, none at all) are left out; calls of such a
    signature fail.
    """

    name = SavedModelSession.name
    batch = None

    def __init__(self, session: SavedModelSession, definition: Any, defaults: Mapping[str, np.ndarray]) -> None:
        """Prepares a signature.

        Args:
            session: runs it.
            definition: the SignatureDef.
            defaults: values of inputs that a caller may leave out.
        """
        self._session = session
        self.defaults = defaults
        self._input_tensors = {alias: info.name for alias, info in sorted(definition.inputs.items())}
        self._output_tensors = {alias: info.name for alias, info in sorted(definition.outputs.items())}
        self.quantization: Mapping[str, Quantization] = {}
        self.inputs: Mapping[str, TensorInfo] = _infos(definition.inputs)
        self.outputs: Mapping[str, TensorInfo] = _infos(definition.outputs)
        self._lock = threading.Lock()
        self._callables: dict[tuple[str, ...], Any] = {}

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """See `Runtime.run`. String tensors are arrays of dtype object holding bytes.

        Raises:
            InvalidInput, FailedPrecondition, NotFound, Unimplemented, OutOfMemory: the graph's error.
        """
        if set(inputs) != set(self._input_tensors):
            raise InvalidInput(f"the model takes {', '.join(self._input_tensors)}, not {', '.join(sorted(inputs))}")
        names = list(self._output_tensors) if outputs is None else list(outputs)
        for name in names:
            if name not in self._output_tensors:
                raise InvalidInput(f"the model has no output {name!r}; it gives {', '.join(self._output_tensors)}")
        computed, function = self._callable(tuple(sorted(names)))
        arrays = [np.asarray(inputs[name]) for name in self._input_tensors]
        answers = dict(zip(computed, self._session.call(function, arrays), strict=True))
        return {name: _array(answers[name]) for name in names}

    def close(self) -> None:
        """Does nothing: the session closes all its entries."""

    def drop_callables(self) -> None:
        """Drops the references to the session's callables."""
        self._callables.clear()

    def _callable(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
        function = self._callables.get(names)
        if function is not None:
            return names, function
        with self._lock:
            if len(self._callables) >= _MAX_CALLABLES and names not in self._callables:
                names = tuple(sorted(self._output_tensors))
            if names not in self._callables:
                feed = list(self._input_tensors.values())
                fetch = [self._output_tensors[name] for name in names]
                self._callables[names] = self._session.call(lambda: self._session.callable(feed, fetch), ())
            return names, self._callables[names]


def _infos(tensors: Mapping[str, Any]) -> dict[str, TensorInfo]:
    from tensorflow import dtypes

    infos: dict[str, TensorInfo] = {}
    for alias, info in sorted(tensors.items()):
        name = dtypes.as_dtype(info.dtype).base_dtype.name if info.dtype else "no tensor"
        ranked = not info.tensor_shape.unknown_rank
        shape = tuple(None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim) if ranked else ()
        infos[alias] = TensorInfo(info.name.removesuffix(":0"), BYTES if name == "string" else name, shape, ranked)
    return infos


def _array(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, bytes | str):  # a scalar string
        scalar = np.empty((), object)
        scalar[()] = value
        return scalar
    return np.asarray(value)


def _all_tags(path: Path, wanted: Sequence[str]) -> list[str]:
    """Returns the tags of the graph to serve: exactly the wanted ones, or else those with the fewest others."""
    binary, text = path / "saved_model.pb", path / "saved_model.pbtxt"
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        if binary.is_file():
            saved.ParseFromString(binary.read_bytes())
        else:
            text_format.Parse(text.read_bytes(), saved)
    except (DecodeError, text_format.ParseError) as error:
        raise ArtifactError(f"TensorFlow cannot load {path}: the SavedModel cannot be parsed") from error
    tag_sets = [list(graph.meta_info_def.tags) for graph in saved.meta_graphs]
    matching = sorted((tags for tags in tag_sets if set(wanted) <= set(tags)), key=len)
    if not matching:
        there = "; ".join("{ " + ", ".join(tags) + " }" for tags in tag_sets) or "none"
        raise ArtifactError(
            f"Could not find meta graph def matching supplied tags: {{ {' '.join(wanted)} }} in {path}; "
            f"its tag-sets are {there}"
        )
    return matching[0]


@contextmanager
def _without_notices() -> Iterator[None]:
    """Hides this thread's deprecation notices and progress lines from TensorFlow's log."""
    here = threading.get_ident()

    def is_wanted(record: logging.LogRecord) -> bool:
        return record.thread != here or record.levelno >= logging.ERROR

    log = logging.getLogger("tensorflow")
    log.addFilter(is_wanted)
    try:
        yield
    finally:
        log.removeFilter(is_wanted)
