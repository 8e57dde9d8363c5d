"""Answers the requests of TensorFlow Serving's REST API."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar

from google.protobuf import json_format

from cvserve.errors import InvalidInput
from cvserve.protos.tensorflow_serving import SignatureDefMap
from cvserve.serving.core.engine import Engine, ModelRef, PredictRequest
from cvserve.serving.core.signatures import DEFAULT, Signature
from cvserve.serving.errors import error_json
from cvserve.serving.protocols.tensorflow_serving.examples import Examples
from cvserve.serving.protocols.tensorflow_serving.inference import ExampleInference
from cvserve.serving.protocols.tensorflow_serving.model_service import model_status
from cvserve.serving.protocols.tensorflow_serving.prediction_service import SIGNATURE_DEF, model_metadata
from cvserve.serving.protocols.tensorflow_serving.rest.documents import free, no_garbage_collection, read_document
from cvserve.serving.protocols.tensorflow_serving.rest.examples import to_examples
from cvserve.serving.protocols.tensorflow_serving.rest.paths import PREFIX, Route, route
from cvserve.serving.protocols.tensorflow_serving.rest.tensors import Tensors, signature_name, to_tensors
from cvserve.serving.protocols.tensorflow_serving.rest.writing import classes_json, to_json, values_json
from cvserve.serving.transport.protocol import HttpAnswer, HttpCall, HttpRequest, HttpRoutes

T = TypeVar("T")

INLINE_VALUES = 2000
"""Bodies with more commas, and answers with more numbers, are handled on a thread, since they take a millisecond or
more. An image in base64 is one value, which takes a fraction of that."""

INLINE_BYTES = 1 << 20


class Rest:
    """Answers REST requests. Used from the loop's thread only."""

    def __init__(self, engine: Engine, inference: ExampleInference, threads: Executor) -> None:
        """
        Args:
            inference: answers requests that hold tf.Examples.
            threads: handle large bodies and answers.
        """
        self._engine = engine
        self._inference = inference
        self._threads = threads

    @property
    def routes(self) -> HttpRoutes:
        """Returns the paths of the API, for the HTTP port."""
        return HttpRoutes(PREFIX, self.call, error_json)

    def call(self, request: HttpRequest) -> HttpCall:
        """Returns the call that a request asks for.

        Raises:
            InvalidInput: the API has no such path, in TensorFlow Serving's words.
        """
        requested = route(request.method, request.path)
        answer = self._get if request.method == "GET" else self._post
        return HttpCall(
            requested.what,
            requested.model.name,
            functools.partial(answer, requested),
            reads_body=request.method != "GET",
        )

    async def _get(self, route: Route, body: bytes, deadline: float) -> HttpAnswer:
        """Returns the status or the metadata of a model."""
        if route.what == "status":
            return HttpAnswer(_json(_plain(model_status(self._engine, route.model))))
        response = model_metadata(self._engine, route.model)
        signatures = SignatureDefMap()
        response.metadata[SIGNATURE_DEF].Unpack(signatures)
        spec = _plain(response.model_spec)
        values = {"model_spec": spec, "metadata": {SIGNATURE_DEF: _plain(signatures)}}
        return HttpAnswer(_json(values), response.model_spec.version.value)

    async def _post(self, route: Route, body: bytes, deadline: float) -> HttpAnswer:
        """Returns the answer of a model."""
        # Fails before the body is read if there is no such model.
        self._engine.model_info(route.model)
        if route.what == "predict":
            return await self._predict(route.model, body, deadline)
        signature, examples = await self._apart(_is_large(body), _read_examples, body)
        if route.what == "classify":
            classes = await self._inference.classify(route.model, signature, examples, deadline)
            return HttpAnswer(classes_json(classes.classes), classes.model.version)
        values = await self._inference.regress(route.model, signature, examples, deadline)
        return HttpAnswer(values_json(values.values), values.model.version)

    async def _predict(self, model: ModelRef, body: bytes, deadline: float) -> HttpAnswer:
        signatures = self._engine.model_info(model).signatures
        signature, tensors = await self._apart(_is_large(body), _read_predict, body, signatures)
        answer = await self._engine.predict(
            PredictRequest(model=model, signature=signature, inputs=tensors.inputs, deadline=deadline)
        )
        large = sum(array.size for array in answer.outputs.values()) > INLINE_VALUES
        written = await self._apart(large, to_json, dict(sorted(answer.outputs.items())), tensors.form)
        return HttpAnswer(written, answer.model.version)

    async def _apart(self, large: bool, function: Callable[..., T], *arguments: Any) -> T:
        """Calls `function(*arguments)`, on a thread if the work is large, and returns the result."""
        if not large:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _is_large(body: bytes) -> bool:
    return len(body) > INLINE_BYTES or (len(body) > INLINE_VALUES and body.count(b",") > INLINE_VALUES)


@contextlib.contextmanager
def _document(body: bytes) -> Iterator[dict[str, Any]]:
    """Yields the document of a body, and frees its memory afterwards."""
    with no_garbage_collection() if _is_large(body) else contextlib.nullcontext():
        document = read_document(body)
        try:
            yield document
        finally:
            free(document)


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
    """Returns a message as TensorFlow Serving prints it: names as in the proto, empty fields too."""
    return json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )


def _json(values: Any) -> bytes:
    return json.dumps(values, indent=1).encode()
