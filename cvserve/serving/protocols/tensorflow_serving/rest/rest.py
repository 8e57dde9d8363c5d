"""TensorFlow Serving's REST API: requests to the engine, answers as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf import json_format

from cvserve.errors import InvalidInput
from cvserve.protos.tensorflow_serving import SignatureDefMap
from cvserve.serving.core.engine import Engine, ModelRef, PredictRequest
from cvserve.serving.core.signatures import DEFAULT, Signature
from cvserve.serving.protocols.tensorflow_serving.model_service import model_status
from cvserve.serving.protocols.tensorflow_serving.prediction_service import SIGNATURE_DEF, model_metadata
from cvserve.serving.protocols.tensorflow_serving.rest.documents import let_go, read_document, uncollected
from cvserve.serving.protocols.tensorflow_serving.rest.examples import Examples, to_examples
from cvserve.serving.protocols.tensorflow_serving.rest.paths import Route
from cvserve.serving.protocols.tensorflow_serving.rest.tensors import Tensors, signature_name, to_tensors
from cvserve.serving.protocols.tensorflow_serving.rest.writing import classes_json, to_json, values_json

T = TypeVar("T")

INLINE_VALUES = 2000
"""Bodies with more commas, and answers with more numbers, are worked on by a thread: a millisecond of JSON, while a
image in base64, which is one value, is read in a fraction of that."""

INLINE_BYTES = 1 << 20


@dataclass(frozen=True)
class Answer:
    """body: JSON. version: of the model that gave it, where it was one."""

    body: bytes
    version: int | None = None


class Rest:
    """Answers what a `Route` asks. Used from the loop's thread only."""

    def __init__(self, engine: Engine, threads: Executor) -> None:
        """
        Args:
            threads: work on large bodies and answers.
        """
        self._engine = engine
        self._threads = threads

    def get(self, route: Route) -> Answer:
        """The status or the metadata of a model.

        Raises:
            NotFound, InvalidInput, Unavailable
        """
        if route.what == "status":
            return Answer(_json(_plain(model_status(self._engine, route.model))))
        response = model_metadata(self._engine, route.model)
        signatures = SignatureDefMap()
        response.metadata[SIGNATURE_DEF].Unpack(signatures)
        spec = _plain(response.model_spec)
        values = {"model_spec": spec, "metadata": {SIGNATURE_DEF: _plain(signatures)}}
        return Answer(_json(values), response.model_spec.version.value)

    async def post(self, route: Route, body: bytes, deadline: float = math.inf) -> Answer:
        """The answer of a model.

        Args:
            deadline: in the loop's time.

        Raises:
            InvalidInput: the body. NotFound, FailedPrecondition, Unavailable, Overloaded, DeadlineExceeded
        """
        # A model that is not there costs no reading.
        self._engine.model_info(route.model)
        if route.what == "predict":
            return await self._predict(route.model, body, deadline)
        signature, examples = await self._apart(_is_large(body), _read_examples, body)
        arguments = (route.model, signature, examples.examples)
        if route.what == "classify":
            classes = await self._engine.classify_examples(*arguments, context=examples.context, deadline=deadline)
            return Answer(classes_json(classes.classes), classes.model.version)
        values = await self._engine.regress_examples(*arguments, context=examples.context, deadline=deadline)
        return Answer(values_json(values.values), values.model.version)

    async def _predict(self, model: ModelRef, body: bytes, deadline: float) -> Answer:
        signatures = self._engine.model_info(model).signatures
        signature, tensors = await self._apart(_is_large(body), _read_predict, body, signatures)
        answer = await self._engine.predict(
            PredictRequest(model=model, signature=signature, inputs=tensors.inputs, deadline=deadline)
        )
        large = sum(array.size for array in answer.outputs.values()) > INLINE_VALUES
        written = await self._apart(large, to_json, dict(sorted(answer.outputs.items())), tensors.form)
        return Answer(written, answer.model.version)

    async def _apart(self, large: bool, function: Callable[..., T], *arguments: Any) -> T:
        """`function(*arguments)`, on a thread if it is large work."""
        if not large:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _is_large(body: bytes) -> bool:
    return len(body) > INLINE_BYTES or (len(body) > INLINE_VALUES and body.count(b",") > INLINE_VALUES)


@contextlib.contextmanager
def _document(body: bytes) -> Iterator[dict[str, Any]]:
    """The document of a body, and no trace of it afterwards."""
    with uncollected() if _is_large(body) else contextlib.nullcontext():
        document = read_document(body)
        try:
            yield document
        finally:
            let_go(document)


def _read_predict(body: bytes, signatures: Mapping[str, Signature]) -> tuple[str, Tensors]:
    with _document(body) as document:
        name = signature_name(document) or DEFAULT
        signature = signatures.get(name)
        if signature is None:
            # Over gRPC the same is FAILED_PRECONDITION, with another text.
            raise InvalidInput(f'Serving signature name: "{name}" not found in signature def')
        if not signature.inputs:
            raise InvalidInput(f"Failed to get input map for signature: {name}")
        return name, to_tensors(document, signature.inputs, lambda: b"Infinity" in body)


def _read_examples(body: bytes) -> tuple[str, Examples]:
    with _document(body) as document:
        return signature_name(document), to_examples(document)


def _plain(message: Any) -> Any:
    """A message as TensorFlow Serving prints it: names as in the proto, fields also when they are empty."""
    return json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )


def _json(values: Any) -> bytes:
    return json.dumps(values, indent=1).encode()
