"""TLS, certificates of clients, tokens and metrics on the HTTP port."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificates import Certificate, make_authority, make_certificate
from serving_kit import PuppetRuntime, Serve, pixels

from cvserve.serving.security import watched

pytest.importorskip("tensorflow_serving")
aiohttp = pytest.importorskip("aiohttp")

PREDICT = "/v1/models/colours:predict"
BODY = json.dumps({"instances": np.stack([pixels("red")]).tolist()})


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


def trusting(authority: Certificate, client: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    return context


async def ask(
    port: int,
    path: str = PREDICT,
    *,
    trusted: ssl.SSLContext | None = None,
    token: str | None = None,
    **headers: str,
) -> tuple[int, Mapping[str, str], Any]:
    """Status, headers and body of a POST (of a GET, where the path is none for POST) over a new connection."""
    url = f"{'http' if trusted is None else 'https'}://127.0.0.1:{port}{path}"
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    options: dict[str, Any] = {"headers": headers, "timeout": aiohttp.ClientTimeout(10)}
    if trusted is not None:
        options["ssl"] = trusted
    async with aiohttp.ClientSession() as session:
        method = session.post(url, data=BODY, **options) if path == PREDICT else session.get(url, **options)
        async with method as response:
            return response.status, response.headers, await response.text()


async def test_tls_and_a_new_certificate(
    serve: Serve, runtime: PuppetRuntime, authority: Certificate, of_server: Certificate, tmp_path: Path
) -> None:
    tls = {"certificate": str(of_server.certificate), "key": str(of_server.key)}
    async with serve(runtime, http_port=0, tls=tls) as server:
        port = server.http.port
        assert (await ask(port, trusted=trusting(authority)))[0] == 200
        with pytest.raises(aiohttp.ClientError):
            await ask(port)
        renewed = make_authority(tmp_path / "tls", "renewed")
        new = make_certificate(tmp_path / "new", "server", renewed)
        of_server.certificate.write_bytes(new.pem)
        assert (await ask(port, trusted=trusting(authority)))[0] == 200
        of_server.key.write_bytes(new.key_pem)
        assert (await ask(port, trusted=trusting(renewed)))[0] == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await ask(port, trusted=trusting(authority))


async def test_mutual_tls_and_new_authorities_of_clients(
    serve: Serve, runtime: PuppetRuntime, authority: Certificate, of_server: Certificate, tmp_path: Path
) -> None:
    clients = make_authority(tmp_path / "tls", "clients")
    client = make_certificate(tmp_path / "tls", "client", clients)
    others = make_authority(tmp_path / "tls", "others")
    other = make_certificate(tmp_path / "tls", "other", others)
    tls = {
        "certificate": str(of_server.certificate),
        "key": str(of_server.key),
        "client_ca": str(clients.certificate),
    }
    async with serve(runtime, http_port=0, tls=tls) as server:
        port = server.http.port
        assert (await ask(port, trusted=trusting(authority, client)))[0] == 200
        for context in (trusting(authority), trusting(authority, other)):
            with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
                await ask(port, trusted=context)
        clients.certificate.write_bytes(others.pem)
        assert (await ask(port, trusted=trusting(authority, other)))[0] == 200
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await ask(port, trusted=trusting(authority, client))


async def test_tls_on_the_grpc_port_alone(serve: Serve, runtime: PuppetRuntime, of_server: Certificate) -> None:
    tls = {"certificate": str(of_server.certificate), "key": str(of_server.key), "http": False}
    async with serve(runtime, http_port=0, tls=tls) as server:
        assert (await ask(server.http.port))[0] == 200


async def test_tokens(serve: Serve, runtime: PuppetRuntime, tmp_path: Path) -> None:
    file = tmp_path / "tokens.yaml"
    file.write_text("tokens: [{token: camera-secret, models: [colours]}, {token: birds-secret, models: [birds]}]")
    async with serve(runtime, http_port=0, tokens=str(file)) as server:
        port = server.http.port
        assert (await ask(port, token="camera-secret"))[0] == 200
        status, headers, body = await ask(port)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "token" in json.loads(body)["error"]
        assert (await ask(port, token="birds-secret"))[0] == 403
        assert (await ask(port, "/v1/models/colours"))[0] == 401
        assert (await ask(port, "/v1/models/colours/metadata", token="birds-secret"))[0] == 403
        for path in ("/healthz", "/readyz", "/monitoring/prometheus/metrics"):
            assert (await ask(port, path))[0] == 200
        file.write_text("tokens: [{token: changed-secret}]")
        assert (await ask(port, token="camera-secret"))[0] == 401
        assert (await ask(port, token="changed-secret"))[0] == 200


async def test_the_request_id_comes_back_and_the_request_is_counted(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, http_port=0) as server:
        port = server.http.port
        _, headers, _ = await ask(port, **{"X-Request-Id": "mine-1"})
        assert headers["X-Request-Id"] == "mine-1"
        status, headers, _ = await ask(port, "/v1/models/nobody", **{"X-Request-Id": "mine-2"})
        assert (status, headers["X-Request-Id"]) == (404, "mine-2")
        _, headers, text = await ask(port, "/monitoring/prometheus/metrics")
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert 'cvserve_requests_total{api="REST predict",code="OK",model="colours",version="1"} 1.0' in text
        assert ':tensorflow:serving:request_count{model_name="colours",status="OK"} 1.0' in text
        assert (
            ':tensorflow:serving:request_latency_count{API="predict",entrypoint="REST",model_name="colours"} 1.0'
            in text
        )
