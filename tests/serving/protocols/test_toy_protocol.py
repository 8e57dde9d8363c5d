"""A protocol added to the server from outside, asked over real sockets: what it does not write itself, it has all the
same (rights, deadlines, errors, request ids, metrics, health, reflection)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import toy_protocol
from google.protobuf.descriptor_pool import DescriptorPool
from serving_kit import PuppetRuntime, Serve, jpeg
from toy_protocol.messages import SERVICE, BestRequest, BestResponse

from cvserve.serving import Server
from cvserve.serving.server import PROTOCOLS
from cvserve.serving.transport.protocol import GrpcMethod, GrpcService

pytest.importorskip("tensorflow_serving")
health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
reflection_client = pytest.importorskip("grpc_reflection.v1alpha.proto_reflection_descriptor_database")

from grpc_health.v1 import health_pb2_grpc  # noqa: E402

WITH_TOY = (*PROTOCOLS, toy_protocol.PROTOCOL)
CODES = grpc.StatusCode


@asynccontextmanager
async def best_of(server: Server) -> AsyncIterator[Any]:
    """The stub of the method: `await best(request, timeout=, metadata=)`."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel.unary_unary(
            "/toy.v1.Toy/Best",
            request_serializer=BestRequest.SerializeToString,
            response_deserializer=BestResponse.FromString,
        )


async def post(server: Server, path: str, body: bytes, **headers: str) -> tuple[int, str, Any]:
    """The status, the body and the headers of an answer over HTTP."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.http_address}{path}", data=body, headers=headers) as answer,
    ):
        return answer.status, await answer.text(), answer.headers


async def code_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""


async def test_it_answers_together_with_the_other_protocols(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, protocols=WITH_TOY) as server, best_of(server) as best:
        call = best(BestRequest(model="colours", image=jpeg("green")), metadata=(("x-request-id", "mine"),))
        answer = await call
        assert (answer.label, answer.version) == ("green", 1)
        status, body, headers = await post(server, "/toy/colours", jpeg("blue"), **{"x-request-id": "mine"})
        assert (status, body, headers["Content-Type"]) == (200, "blue", "text/plain")
        assert headers["x-request-id"] == "mine"
        status, body, _ = await post(server, "/v1/models/colours:predict", b"{}")
        assert (status, body) == (400, "{\"error\": \"Missing 'inputs' or 'instances' key\"}")
        text = server.metrics.text().decode()
        assert 'cvserve_requests_total{api="Best",code="OK",model="colours",version="1"} 1.0' in text
        assert 'cvserve_requests_total{api="REST best",code="OK",model="colours",version="1"} 1.0' in text


async def test_health_and_reflection_list_it(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, protocols=WITH_TOY) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            request = health_pb2.HealthCheckRequest(service="toy.v1.Toy")
            assert (await health_pb2_grpc.HealthStub(channel).Check(request)).status == 1

        def described() -> tuple[set[str], list[str]]:
            with grpc.insecure_channel(server.address) as channel:
                database = reflection_client.ProtoReflectionDescriptorDatabase(channel)
                service = DescriptorPool(database).FindServiceByName("toy.v1.Toy")
                return set(database.get_services()), [field.name for field in service.methods[0].input_type.fields]

        services, fields = await asyncio.to_thread(described)
        assert {"toy.v1.Toy", "tensorflow.serving.PredictionService", "cvserve.v1.VisionService"} <= services
        assert fields == ["model", "image"]


async def test_errors_have_their_codes(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, protocols=WITH_TOY) as server, best_of(server) as best:
        for model, image, code, status in (
            ("nobody", jpeg(), CODES.NOT_FOUND, 404),
            ("colours", b"no image", CODES.INVALID_ARGUMENT, 400),
            ("colours", b"bug", CODES.INTERNAL, 500),
        ):
            found, text = await code_of(best(BestRequest(model=model, image=image)))
            answered, body, headers = await post(server, f"/toy/{model}", image)
            assert (found, answered) == (code, status)
            assert text in body
            assert headers["x-request-id"]
        assert "the toy is broken" in text
        async with grpc.aio.insecure_channel(server.address) as channel:
            found, text = await code_of(channel.unary_unary("/toy.v1.Toy/Best")(b"\xff no message"))
            assert found is CODES.INVALID_ARGUMENT
            assert "the message cannot be read" in text
        assert (await post(server, "/toy/a/b", b""))[:2] == (
            404,
            '{"error": "the toy protocol has no POST /toy/a/b"}',
        )


async def test_deadlines_end_its_requests(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, protocols=WITH_TOY, http_timeout_seconds=0.2) as server, best_of(server) as best:
        runtime.gate.clear()
        # The second waits for the first, which is in the graph and cannot be stopped.
        for _ in range(2):
            found, _ = await code_of(best(BestRequest(model="colours", image=jpeg()), timeout=0.2))
            assert found is CODES.DEADLINE_EXCEEDED
        assert (await post(server, "/toy/colours", jpeg()))[0] == 504
        runtime.gate.set()


async def test_it_needs_tokens(serve: Serve, runtime: PuppetRuntime, tmp_path: Path) -> None:
    file = tmp_path / "tokens.yaml"
    file.write_text(
        "tokens: [{token: of-colours, models: [colours]}, {token: of-another, models: [another]}]", encoding="utf-8"
    )
    async with serve(runtime, protocols=WITH_TOY, tokens=str(file)) as server, best_of(server) as best:
        for token, code, status in (
            (None, CODES.UNAUTHENTICATED, 401),
            ("of-another", CODES.PERMISSION_DENIED, 403),
            ("of-colours", CODES.OK, 200),
        ):
            given = {} if token is None else {"authorization": f"Bearer {token}"}
            call = best(BestRequest(model="colours", image=jpeg()), metadata=tuple(given.items()))
            if code is CODES.OK:
                assert (await call).label == "red"
            else:
                assert (await code_of(call))[0] is code
            assert (await post(server, "/toy/colours", jpeg(), **given))[0] == status


async def test_a_server_can_have_only_this_protocol(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, protocols=(toy_protocol.PROTOCOL,)) as server, best_of(server) as best:
        assert (await best(BestRequest(model="colours", image=jpeg()))).label == "red"
        async with grpc.aio.insecure_channel(server.address) as channel:
            found, _ = await code_of(channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(b""))
            assert found is CODES.UNIMPLEMENTED
        assert (await post(server, "/v1/models/colours:predict", b"{}"))[0] == 404
        assert ":tensorflow:serving" not in server.metrics.text().decode()


def test_a_misspelled_method_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the service toy\.v1\.Toy has no method Bset"):
        GrpcService(SERVICE, object(), {"Bset": GrpcMethod(right="management")})
