"""Bodies over real sockets: too large, too slow, packed, broken."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from http_kit import PREDICT, ask, curl, port_of, raw
from serving_kit import PuppetRuntime, Serve, eventually, pixels, slept

pytest.importorskip("tensorflow_serving")
pytest.importorskip("aiohttp")

GOOD = json.dumps({"instances": np.stack([pixels("red")]).tolist()}).encode()
HEAD = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
LIMIT = 64 << 10


def answer(data: bytes) -> tuple[int, str]:
    """Status and error of a raw answer."""
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"] if body else ""


async def test_a_body_that_is_too_large(serve: Serve, runtime: PuppetRuntime, tmp_path: Path) -> None:
    async with serve(runtime, max_message_bytes=LIMIT) as server:
        url = f"{server.http_address}{PREDICT}"
        assert (await ask(url, GOOD + b" " * (LIMIT - len(GOOD)))).status == 200
        reply = await ask(url, GOOD + b" " * (LIMIT - len(GOOD) + 1))
        assert (reply.status, reply.error) == (413, "the body has 65537 bytes; this server takes at most 65536")
        # Refused by its header: curl asks first, and never sends the body.
        (tmp_path / "large").write_bytes(b" " * (2 << 20))
        reply = await curl("-d", f"@{tmp_path / 'large'}", "-H", "Expect: 100-continue", url)
        assert reply.status == 413
        # In chunks, the length is not known beforehand.
        chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
        data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3 + b"0\r\n\r\n"
        status, text = answer(await raw(port_of(server), data))
        assert (status, text) == (413, "the body is larger than the 65536 bytes that this server takes")
        assert (await ask(url, GOOD)).status == 200


async def test_a_small_body_that_unpacks_to_a_large_one(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_message_bytes=1 << 20) as server:
        url = f"{server.http_address}{PREDICT}"
        bomb = gzip.compress(b" " * (100 << 20))
        assert len(bomb) < 1 << 20
        reply = await ask(url, bomb, Content_Encoding="gzip")
        assert (reply.status, reply.error) == (413, "the body unpacks to more than 1048576 bytes")


@pytest.mark.parametrize(
    ("body", "encoding", "text"),
    [
        (GOOD, "gzip", "the body is not gzip, as its Content-Encoding says: "),
        (gzip.compress(GOOD, mtime=0)[:-20], "gzip", "the body is gzip that ends too early"),
        (gzip.compress(GOOD, mtime=0) + b"more", "gzip", "the body is not gzip"),
        (gzip.compress(b"", mtime=0), "gzip", "JSON Parse error: The document is empty"),
        (b"", "gzip", "JSON Parse error: The document is empty"),
        (zlib.compress(GOOD), "deflate", "Content-Encoding 'deflate' is not known here; send gzip"),
        (GOOD, "br, gzip", "Content-Encoding 'br, gzip' is not known here"),
    ],
)
async def test_packed_bodies_that_are_wrong(
    serve: Serve, runtime: PuppetRuntime, body: bytes, encoding: str, text: str
) -> None:
    async with serve(runtime) as server:
        reply = await ask(f"{server.http_address}{PREDICT}", body, Content_Encoding=encoding)
        assert reply.status == 400
        assert reply.error.startswith(text)


async def test_a_sender_that_is_too_slow(serve: Serve, runtime: PuppetRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvserve.serving.transport.http.server.LINGERING_SECONDS", 0.3)
    async with serve(runtime, http_read_seconds=0.3) as server:
        head = HEAD + f"Content-Length: {len(GOOD)}\r\n\r\n".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        started = asyncio.get_running_loop().time()
        timer = asyncio.ensure_future(slept(0.3))
        writer.write(head + GOOD[:10])
        status, text = answer(await asyncio.wait_for(reader.readuntil(b"}"), 5))
        assert (status, text) == (408, "the body did not come within 0.3 s")
        assert 0.25 < asyncio.get_running_loop().time() - started < 4 * await timer
        # It may still go on for a moment, but then it is cut off.
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        assert (await ask(f"{server.http_address}{PREDICT}", GOOD)).status == 200


async def test_a_connection_without_a_request(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, http_idle_seconds=0.3) as server:
        for beginning in (b"", b"POST /v1/mod", HEAD):
            assert await raw(port_of(server), beginning, seconds=5) == b""


async def test_the_bytes_of_all_bodies_together_are_limited(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_http_bytes=LIMIT) as server:
        url = f"{server.http_address}{PREDICT}"
        head = HEAD + f"Content-Length: {LIMIT}\r\n\r\n".encode()
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(head + b" " * (LIMIT - 100))
        assert server.http is not None
        bodies = server.http._bodies
        await eventually(lambda: bodies.bytes_in_use == LIMIT - 100)
        reply = await ask(url, GOOD)
        assert reply.status == 429
        assert reply.headers["retry-after"] == "1"
        # Its sender disconnects, and its bytes are not counted any more.
        writer.close()
        await eventually(lambda: bodies.bytes_in_use == 0)
        assert (await ask(url, GOOD)).status == 200
        assert bodies.bytes_in_use == 0


async def test_one_body_alone_may_be_larger_than_all_together(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_http_bytes=1024) as server:
        url = f"{server.http_address}{PREDICT}"
        large = GOOD + b" " * (1 << 20)  # comes in many pieces
        assert (await ask(url, large)).status == 200
        assert (await ask(url, gzip.compress(large), Content_Encoding="gzip")).status == 200
        assert server.http is not None
        assert server.http._bodies.bytes_in_use == 0


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nthis is no chunk\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        HEAD + b"Content-Length: -5\r\n\r\n",
        HEAD + b"Content-Length: many\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
    ],
    ids=lambda data: repr(data[-24:]),
)
async def test_bytes_that_are_not_http(
    serve: Serve, runtime: PuppetRuntime, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(runtime) as server:
        reply = await raw(port_of(server), data)
        assert reply.split()[1] == b"400"
        assert (await ask(f"{server.http_address}{PREDICT}", GOOD)).status == 200
    # Anybody can send such bytes, so they must not fill the log.
    assert not [record for record in caplog.records if record.name.startswith("cvserve")]
