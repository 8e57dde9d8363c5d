"""TLS, certificates of clients and tokens over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from certificates import Certificate, make_authority, make_certificate
from serving_kit import PuppetRuntime, Serve, jpeg, repository

from cvserve.errors import InvalidInput, NotFound
from cvserve.protos import vision_pb2, vision_pb2_grpc
from cvserve.serving.security import watched

pytest.importorskip("tensorflow_serving")

CODES = grpc.StatusCode


@pytest.fixture(autouse=True)
def look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes changed files count from the next connection or request on, not from the next second."""
    monkeypatch.setattr(watched, "CHECK_SECONDS", 0.0)


@pytest.fixture
def authority(tmp_path: Path) -> Certificate:
    return make_authority(tmp_path / "tls", "authority")


@pytest.fixture
def of_server(tmp_path: Path, authority: Certificate) -> Certificate:
    return make_certificate(tmp_path / "tls", "server", authority)


def credentials(authority: Certificate, client: Certificate | None = None) -> grpc.ChannelCredentials:
    if client is None:
        return grpc.ssl_channel_credentials(authority.pem)
    return grpc.ssl_channel_credentials(authority.pem, client.key_pem, client.pem)


@asynccontextmanager
async def channel(address: str, trusted: grpc.ChannelCredentials | None) -> AsyncIterator[grpc.aio.Channel]:
    # A pool of its own, so that nothing of an earlier connection is used again.
    options = [("grpc.use_local_subchannel_pool", 1)]
    if trusted is None:
        async with grpc.aio.insecure_channel(address, options) as made:
            yield made
    else:
        async with grpc.aio.secure_channel(address, trusted, options) as made:
            yield made


async def classify(
    address: str, trusted: grpc.ChannelCredentials | None = None, token: str | None = None, model: str = "colours"
) -> str:
    """Returns the code of a request over a new connection."""
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    async with channel(address, trusted) as made:
        request = vision_pb2.ClassifyRequest(model=vision_pb2.ModelSpec(name=model), image=jpeg())
        try:
            await vision_pb2_grpc.VisionServiceStub(made).Classify(request, timeout=5, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return "OK"


def tls(server: Certificate, **more: object) -> dict[str, object]:
    return {"certificate": str(server.certificate), "key": str(server.key), **more}


async def test_tls(serve: Serve, runtime: PuppetRuntime, authority: Certificate, of_server: Certificate) -> None:
    async with serve(runtime, tls=tls(of_server)) as server:
        assert await classify(server.address, credentials(authority)) == "OK"
        assert await classify(server.address) == "UNAVAILABLE", "a plain client gets nothing"
        stranger = make_authority(of_server.key.parent, "stranger")
        assert await classify(server.address, credentials(stranger)) == "UNAVAILABLE"


async def test_pem_text_instead_of_files(
    serve: Serve, runtime: PuppetRuntime, authority: Certificate, of_server: Certificate
) -> None:
    text = {"certificate": of_server.pem.decode(), "key": of_server.key_pem.decode()}
    async with serve(runtime, tls=text) as server:
        assert await classify(server.address, credentials(authority)) == "OK"


async def test_mutual_tls(
    serve: Serve, runtime: PuppetRuntime, authority: Certificate, of_server: Certificate, tmp_path: Path
) -> None:
    clients = make_authority(tmp_path / "tls", "clients")
    client = make_certificate(tmp_path / "tls", "client", clients)
    of_other_authority = make_certificate(tmp_path / "tls", "of_other_authority", authority)
    async with serve(runtime, tls=tls(of_server, client_ca=str(clients.certificate))) as server:
        assert await classify(server.address, credentials(authority, client)) == "OK"
        assert await classify(server.address, credentials(authority)) == "UNAVAILABLE"
        assert await classify(server.address, credentials(authority, of_other_authority)) == "UNAVAILABLE"


async def test_a_new_certificate_is_used_without_a_restart_and_connections_stay(
    serve: Serve, runtime: PuppetRuntime, authority: Certificate, of_server: Certificate, tmp_path: Path
) -> None:
    async with serve(runtime, tls=tls(of_server)) as server, channel(server.address, credentials(authority)) as old:
        stub = vision_pb2_grpc.VisionServiceStub(old)
        request = vision_pb2.ClassifyRequest(model=vision_pb2.ModelSpec(name="colours"), image=jpeg())
        await stub.Classify(request, timeout=5)

        renewed = make_authority(tmp_path / "tls", "renewed")
        new = make_certificate(tmp_path / "new", "server", renewed)
        # The certificate comes before its key: in between they do not fit together, and the old pair stays in use.
        of_server.certificate.write_bytes(new.pem)
        assert await classify(server.address, credentials(authority)) == "OK"
        of_server.key.write_bytes(new.key_pem)

        assert await classify(server.address, credentials(renewed)) == "OK"
        assert await classify(server.address, credentials(authority)) == "UNAVAILABLE"
        await stub.Classify(request, timeout=5)


async def test_certificates_that_do_not_fit_keep_the_server_from_starting(
    serve: Serve, runtime: PuppetRuntime, authority: Certificate, of_server: Certificate, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="tls"):
        async with serve(runtime, tls=tls(of_server) | {"key": str(authority.key)}):
            pass
    with pytest.raises(NotFound, match=r"tls.key: no file .*nowhere.key"):
        async with serve(runtime, tls=tls(of_server) | {"key": str(tmp_path / "nowhere.key")}):
            pass


async def test_tokens(serve: Serve, runtime: PuppetRuntime, tmp_path: Path) -> None:
    file = tmp_path / "tokens.yaml"
    file.write_text(
        "tokens:\n"
        "- {token: camera-secret, models: [colours]}\n"
        "- {token: birds-secret, models: [birds]}\n"
        "- {token: operator-secret, rights: [management]}\n"
    )
    async with serve(runtime, tokens=str(file)) as server:
        assert await classify(server.address, token="camera-secret") == "OK"
        assert await classify(server.address) == "UNAUTHENTICATED"
        assert await classify(server.address, token="guessed") == "UNAUTHENTICATED"
        assert await classify(server.address, token="birds-secret") == "PERMISSION_DENIED"
        assert await classify(server.address, token="operator-secret") == "PERMISSION_DENIED"
        assert await classify(server.address, token="camera-secret", model="nobody") == "PERMISSION_DENIED", (
            "a caller without the right does not learn whether the model exists"
        )
        assert not runtime.calls[1:], "nothing of the refused requests ran"

        file.write_text("tokens: [{token: changed-secret}]")
        assert await classify(server.address, token="changed-secret") == "OK"
        assert await classify(server.address, token="camera-secret") == "UNAUTHENTICATED"
        file.write_text("tokens: [{token: half-writ")
        assert await classify(server.address, token="changed-secret") == "OK"
        text = server.metrics.text().decode()
        assert 'cvserve_rejected_total{model="colours",reason="unauthenticated"} 3.0' in text
        assert 'cvserve_rejected_total{model="colours",reason="permission"} 2.0' in text


async def test_management_is_a_separate_right(serve: Serve, runtime: PuppetRuntime, tmp_path: Path) -> None:
    from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc

    file = tmp_path / "tokens.yaml"
    file.write_text("tokens: [{token: camera-secret}, {token: operator-secret, rights: [management]}]")
    async with serve(runtime, tokens=str(file)) as server, channel(server.address, None) as made:
        stub = model_service_pb2_grpc.ModelServiceStub(made)
        camera, operator = ((("authorization", f"Bearer {name}-secret"),) for name in ("camera", "operator"))
        empty = model_management_pb2.ReloadConfigRequest()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.HandleReloadConfigRequest(empty, timeout=5, metadata=camera)
        assert error.value.code() is CODES.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.HandleReloadConfigRequest(empty, timeout=5, metadata=operator)
        assert error.value.code() not in (CODES.PERMISSION_DENIED, CODES.UNAUTHENTICATED)
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "colours"
        await stub.GetModelStatus(status, timeout=5, metadata=camera)


async def test_a_request_with_a_task_for_a_forbidden_model_is_refused(
    serve: Serve, runtime: PuppetRuntime, tmp_path: Path
) -> None:
    from tensorflow_serving.apis import inference_pb2, prediction_service_pb2_grpc

    file = tmp_path / "tokens.yaml"
    file.write_text("tokens: [{token: camera-secret, models: [shapes]}]")
    repository(tmp_path / "models", "shapes")
    async with serve(runtime, tokens=str(file)) as server, channel(server.address, None) as made:
        request = inference_pb2.MultiInferenceRequest()
        for name in ("shapes", "colours"):
            request.tasks.add(method_name="tensorflow/serving/classify").model_spec.name = name
        request.input.example_list.examples.add()
        stub = prediction_service_pb2_grpc.PredictionServiceStub(made)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.MultiInference(request, timeout=5, metadata=(("authorization", "Bearer camera-secret"),))
        assert error.value.code() is CODES.INVALID_ARGUMENT
        assert not runtime.calls


async def test_health_is_open_and_reflection_can_be_closed(
    serve: Serve, runtime: PuppetRuntime, tmp_path: Path
) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    file = tmp_path / "tokens.yaml"
    file.write_text("tokens: [{token: camera-secret}]")
    async with serve(runtime, tokens=str(file), reflection=False) as server, channel(server.address, None) as made:
        answer = await health_pb2_grpc.HealthStub(made).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(made)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            async for _ in stub.ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5
            ):
                pass
        assert error.value.code() is CODES.UNIMPLEMENTED


async def test_every_frame_of_a_stream_needs_the_right(serve: Serve, runtime: PuppetRuntime, tmp_path: Path) -> None:
    file = tmp_path / "tokens.yaml"
    file.write_text("tokens: [{token: camera-secret, models: [colours]}]")
    async with serve(runtime, tokens=str(file)) as server, channel(server.address, None) as made:
        stub = vision_pb2_grpc.VisionServiceStub(made)
        metadata = (("authorization", "Bearer camera-secret"),)

        async def frames() -> AsyncIterator[vision_pb2.StreamRequest]:
            for name in ("colours", "birds", "colours"):
                yield vision_pb2.StreamRequest(model=vision_pb2.ModelSpec(name=name), image=jpeg())

        answers = [answer async for answer in stub.Stream(frames(), timeout=5, metadata=metadata)]
        assert [answer.error.status for answer in answers] == ["", "PERMISSION_DENIED", ""]
        assert len(runtime.calls) == 2
