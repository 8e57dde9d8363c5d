"""A server asked the same over gRPC and HTTP, for the tests of what it answers to faults."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
import numpy as np
import pytest
from serving_kit import pixels

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_serving")

from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc  # noqa: E402

from cvserve.serving import Server  # noqa: E402

CODES = grpc.StatusCode
Edit = Callable[[Any], object]


@dataclass
class Ask:
    """Both ways to the server."""

    channel: grpc.aio.Channel
    http: aiohttp.ClientSession
    base: str

    async def predict(self, request: Any = None, timeout: float = 10) -> Any:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        return await stub.Predict(good() if request is None else request, timeout=timeout)

    async def code(self, request: Any = None, timeout: float = 10) -> tuple[grpc.StatusCode, str]:
        try:
            await self.predict(request, timeout)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        return CODES.OK, ""

    async def rest(self, path: str = "models/colours:predict", body: Any = None) -> tuple[int, str]:
        """The status, and the text of the error."""
        status, text, _ = await self.rest_with_headers(path, body)
        return status, text

    async def rest_with_headers(self, path: str, body: Any) -> tuple[int, str, Any]:
        data = body if isinstance(body, bytes) else json.dumps(GOOD_BODY if body is None else body).encode()
        async with self.http.post(f"{self.base}/v1/{path}", data=data) as answer:
            document = await answer.json(content_type=None)
            return answer.status, document.get("error", ""), answer.headers


@asynccontextmanager
async def asking(server: Server) -> AsyncIterator[Ask]:
    async with grpc.aio.insecure_channel(server.address) as channel, aiohttp.ClientSession() as http:
        yield Ask(channel, http, server.http_address or "")


def good(edit: Edit = lambda request: None) -> Any:
    """A PredictRequest that is answered, after `edit`."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "colours"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(pixels("red")[np.newaxis]))
    edit(request)
    return request


def tensor(array: Any) -> Edit:
    return lambda request: request.inputs["images"].CopyFrom(tf.make_tensor_proto(array))


GOOD_BODY = {"instances": [pixels("red").tolist()]}
