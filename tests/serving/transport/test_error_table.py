"""The table of errors in docs/serving.md, row by row, over real sockets: gRPC and HTTP report the same error.

These are the errors of requests: unknown names, tensors that do not fit. Errors that come from the state of the server
are in test_error_states.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from serving_kit import Serve, pixels

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_serving")

from faults_kit import CODES, GOOD_BODY, Edit, asking, good, tensor  # noqa: E402

TOO_SHORT = np.zeros((1, 16, 16, 2), np.uint8)


@dataclass(frozen=True)
class Row:
    """Describes an error: the gRPC and the HTTP request (None: not possible over HTTP), and the answers.

    text: part of both sentences; http_text: of HTTP's, where its API has other words.
    """

    case: str
    edit: Edit
    code: grpc.StatusCode
    text: str
    path: str | None = "models/colours:predict"
    body: Any = None
    status: int = 400
    http_text: str | None = None


ROWS = [
    Row(
        "unknown model",
        lambda request: setattr(request.model_spec, "name", "nobody"),
        CODES.NOT_FOUND,
        "Servable not found for request: Latest(nobody)",
        path="models/nobody:predict",
        status=404,
    ),
    Row(
        "unknown version",
        lambda request: setattr(request.model_spec.version, "value", 7),
        CODES.NOT_FOUND,
        "Servable not found for request: Specific(colours, 7)",
        path="models/colours/versions/7:predict",
        status=404,
    ),
    Row(
        "version that is not a number",
        lambda request: setattr(request.model_spec.version, "value", -1),
        CODES.NOT_FOUND,
        "Servable not found for request: Specific(colours, -1)",
        path="models/colours/versions/foo:predict",
        http_text="Malformed request: POST /v1/models/colours/versions/foo:predict",
    ),
    Row(
        "no model name",
        lambda request: request.model_spec.ClearField("name"),
        CODES.INVALID_ARGUMENT,
        "ModelSpec has no name specified.",
        path="models/:predict",
        http_text="Malformed request",
    ),
    Row(
        "unknown signature",
        lambda request: setattr(request.model_spec, "signature_name", "s"),
        CODES.FAILED_PRECONDITION,
        'Serving signature key "s" not found.',
        body={"signature_name": "s", **GOOD_BODY},
        http_text='Serving signature name: "s" not found in signature def',
    ),
    Row(
        "unknown label",
        lambda request: setattr(request.model_spec, "version_label", "canary"),
        CODES.INVALID_ARGUMENT,
        "Unrecognized servable version label: canary",
        path="models/colours/labels/canary:predict",
    ),
    Row(
        "wrong dtype",
        tensor(pixels("red").astype(np.float32)[np.newaxis]),
        CODES.INVALID_ARGUMENT,
        "images",
        body={"instances": [(pixels("red") + 0.5).tolist()]},
        http_text="is not of expected type: uint8",
    ),
    Row("wrong shape", tensor(TOO_SHORT), CODES.INVALID_ARGUMENT, "", body={"instances": TOO_SHORT.tolist()}),
    Row("wrong rank", tensor(np.uint8(3)), CODES.INVALID_ARGUMENT, "", body={"inputs": 3}),
    Row(
        "more rows than a request may have",
        tensor(np.zeros((21, 16, 16, 3), np.uint8)),
        CODES.INVALID_ARGUMENT,
        "21 rows; model 'colours' takes at most 20",
        body={"instances": np.zeros((21, 16, 16, 3), np.uint8).tolist()},
    ),
    Row(
        "missing input",
        lambda request: request.inputs.clear(),
        CODES.INVALID_ARGUMENT,
        "input size does not match signature: 0!=1",
        body={"inputs": {}},
        http_text="",
    ),
    Row(
        "extra input",
        lambda request: request.inputs["more"].CopyFrom(request.inputs["images"]),
        CODES.INVALID_ARGUMENT,
        "Sent extra: {more}",
        path=None,  # over HTTP names that the signature does not have are passed over, as in TensorFlow Serving
    ),
    Row(
        "unknown output",
        lambda request: request.output_filter.append("nothing"),
        CODES.INVALID_ARGUMENT,
        "output tensor alias not found in signature: nothing",
        path=None,
    ),
    Row(
        "output twice",
        lambda request: request.output_filter.extend(["probabilities"] * 2),
        CODES.INVALID_ARGUMENT,
        "duplicate output tensor alias: probabilities",
        path=None,
    ),
    Row(
        "bytes of another length",
        lambda request: setattr(request.inputs["images"], "tensor_content", b"12"),
        CODES.INVALID_ARGUMENT,
        "tensor parsing error: images",
        path=None,
    ),
    Row(
        "an image that is none",
        lambda request: (
            request.inputs.clear(),
            setattr(request.model_spec, "signature_name", "bytes"),
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([b"no image"])),
        ),
        CODES.INVALID_ARGUMENT,
        "image 0",
        body={"signature_name": "bytes", "instances": [{"b64": "bm8gcGljdHVyZQ=="}]},
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.case)
async def test_errors_of_a_request(serve: Serve, row: Row) -> None:
    async with serve(max_request_rows=20) as server, asking(server) as ask:
        code, text = await ask.code(good(row.edit))
        assert code is row.code, text
        assert row.text in text
        assert text, "a fault has a sentence"
        if row.path is not None:
            status, sentence = await ask.rest(row.path, row.body)
            assert status == row.status, sentence
            assert (row.text if row.http_text is None else row.http_text) in sentence
            assert sentence
        # The next one is answered, both ways.
        assert (await ask.code())[0] is CODES.OK
        assert (await ask.rest())[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("models/colours:predict", b"{", 400, "JSON Parse error"),
        ("models/colours:predict", b"[]", 400, ""),
        ("models/colours:predict", b"{}", 400, ""),
        ("models/colours:predict", {"instances": [], "inputs": []}, 400, ""),
        ("models/colours:explode", None, 400, "Malformed request: POST /v1/models/colours:explode"),
        ("nothing", None, 400, "Malformed request: POST /v1/nothing"),
        ("models/%2e%2e%2fcolours:predict", None, 404, "Servable not found"),
    ],
)
async def test_errors_that_only_http_has(serve: Serve, path: str, body: Any, status: int, text: str) -> None:
    async with serve() as server, asking(server) as ask:
        assert (await ask.rest(path, body))[0] == status
        assert text in (await ask.rest(path, body))[1]
        async with ask.http.get(f"{ask.base}/elsewhere") as answer:
            assert answer.status == 404
