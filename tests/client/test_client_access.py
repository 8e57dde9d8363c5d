"""Tokens, request ids and TLS of the clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificates import Certificate, make_authority, make_certificate

from cvserve import errors
from cvserve.client import AsyncClient, Client, Tls
from cvserve.protos import vision_pb2, vision_pb2_grpc


class Door(vision_pb2_grpc.VisionServiceServicer):
    """Accepts requests with the token "open"."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def GetModelInfo(self, request: Any, context: Any) -> Any:
        headers = dict(context.invocation_metadata())
        self.ids.append(headers.get("x-request-id", ""))
        context.set_trailing_metadata((("x-request-id", "the-servers"),))
        if "authorization" not in headers:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "this server needs a token")
        if headers["authorization"] != "Bearer open":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "that token may not do this")
        return vision_pb2.GetModelInfoResponse(model=vision_pb2.ModelSpec(name=request.model.name, version=1))

    def Classify(self, request: Any, context: Any) -> Any:
        self.ids.append(dict(context.invocation_metadata()).get("x-request-id", ""))
        return vision_pb2.ClassifyResponse()


Start = Callable[..., str]


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def start(door: Door) -> Iterator[Start]:
    servers: list[grpc.Server] = []

    def begin(credentials: Any = None) -> str:
        server = grpc.server(futures.ThreadPoolExecutor(2))
        vision_pb2_grpc.add_VisionServiceServicer_to_server(door, server)
        port = (
            server.add_insecure_port("127.0.0.1:0")
            if credentials is None
            else server.add_secure_port("127.0.0.1:0", credentials)
        )
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield begin
    for server in servers:
        server.stop(None)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_authority(tmp_path_factory.mktemp("ca"), "authority")


@pytest.fixture(scope="module")
def certificate(authority: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("own"), "localhost", authority)


def test_tokens(start: Start) -> None:
    target = start()
    with Client(target, token="open") as client:
        assert client.model_info("m").version == 1
    with Client(target) as client, pytest.raises(errors.Unauthenticated, match="needs a token") as error:
        client.model_info("m")
    assert error.value.request_id == "the-servers"
    with Client(target, token="shut") as client, pytest.raises(errors.PermissionDenied, match="may not do this"):
        client.model_info("m")


async def test_a_token_may_change_between_calls(start: Start) -> None:
    target, tokens = start(), iter(["shut", "open"])
    async with AsyncClient(target, token=lambda: next(tokens)) as client:
        with pytest.raises(errors.PermissionDenied):
            await client.model_info("m")
        assert (await client.model_info("m")).version == 1


def test_the_error_of_an_invalid_token_does_not_show_it(start: Start) -> None:
    with Client(start(), token="sécret\n") as client, pytest.raises(errors.InvalidInput) as error:
        client.model_info("m")
    assert "cret" not in str(error.value)


async def test_request_ids(start: Start, door: Door) -> None:
    target = start()
    with Client(target) as client:
        await asyncio.to_thread(client.classify, "m", b"a", request_id="mine")
        await asyncio.to_thread(client.classify, "m", b"a")
    async with AsyncClient(target) as waiting:
        await waiting.classify("m", b"a", request_id="its")
    assert door.ids == ["mine", "", "its"]


async def test_tls(start: Start, authority: Certificate, certificate: Certificate) -> None:
    target = start(grpc.ssl_server_credentials([(certificate.key_pem, certificate.pem)]))
    for ca in (authority.certificate, str(authority.certificate), authority.pem):
        with Client(target, token="open", tls=Tls(ca=ca)) as client:
            assert (await asyncio.to_thread(client.model_info, "m")).version == 1
    async with AsyncClient(target, token="open", tls=Tls(ca=authority.certificate)) as waiting:
        assert (await waiting.model_info("m")).version == 1


def test_an_untrusted_server_is_reported(start: Start, certificate: Certificate) -> None:
    target = start(grpc.ssl_server_credentials([(certificate.key_pem, certificate.pem)]))
    wrong = pytest.raises(errors.Unavailable, match=f"{target} and this client do not agree on TLS")
    with Client(target, tls=True, connect_timeout=0.5) as client, wrong:
        client.model_info("m")
    # Without TLS, gRPC only sees the connection close.
    with Client(target, connect_timeout=0.5) as client, pytest.raises(errors.Unavailable, match="no server answers"):
        client.model_info("m")


def test_mutual_tls(start: Start, authority: Certificate, certificate: Certificate) -> None:
    target = start(
        grpc.ssl_server_credentials([(certificate.key_pem, certificate.pem)], authority.pem, require_client_auth=True)
    )
    own = Tls(authority.certificate, certificate.certificate, certificate.key)
    with Client(target, token="open", tls=own) as client:
        assert client.model_info("m").version == 1
    nobody = Tls(authority.certificate)
    with (
        Client(target, tls=nobody, connect_timeout=0.5) as client,
        pytest.raises(errors.Unavailable, match="certificate"),
    ):
        client.model_info("m")


def test_the_name_on_the_certificate(
    start: Start, authority: Certificate, certificate: Certificate, tmp_path: Path
) -> None:
    target = start(grpc.ssl_server_credentials([(certificate.key_pem, certificate.pem)]))
    with Client(target, token="open", tls=Tls(authority.pem, server_name="localhost")) as client:
        assert client.model_info("m").version == 1
    wrong = Tls(authority.pem, server_name="elsewhere.example")
    refused = pytest.raises(errors.Unavailable, match="do not agree on TLS")
    with Client(target, tls=wrong, connect_timeout=0.5) as client, refused:
        client.model_info("m")


def test_certificate_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound, match=r"no certificate or key at .*ca.pem"):
        Client("localhost:1", tls=Tls(ca=tmp_path / "ca.pem"))
    with pytest.raises(errors.InvalidInput, match="go together"):
        Client("localhost:1", tls=Tls(certificate=b"x"))
