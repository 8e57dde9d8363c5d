"""Asking the HTTP port as its users do: urllib, curl, and bytes on a socket."""

from __future__ import annotations

import asyncio
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from cvserve.serving import Server

PREDICT = "/v1/models/colours:predict"


@dataclass(frozen=True)
class Reply:
    """status: of HTTP. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of an error's body, which has nothing else."""
        value = self.json
        assert list(value) == ["error"]
        assert isinstance(value["error"], str)
        return value["error"]


async def ask(url: str, body: Any = None, **headers: str) -> Reply:
    """A GET, or a POST of a body: bytes as they are, anything else as JSON."""
    return await asyncio.to_thread(_ask, url, body, headers)


def _ask(url: str, body: Any, headers: Mapping[str, str]) -> Reply:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return Reply(response.status, _lower(response.headers), response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, _lower(error.headers), error.read())


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


async def curl(*arguments: str) -> Reply:
    """What curl gets; a test that needs it is skipped where it is not installed."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    process = await asyncio.create_subprocess_exec(
        "curl", "-s", "-i", "--max-time", "20", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"curl ended with {process.returncode}"
    while True:
        head, _, output = output.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        if " 100 " not in first:
            break
    headers = dict(line.split(": ", 1) for line in lines)
    return Reply(int(first.split()[1]), _lower(headers), output)


def port_of(server: Server) -> int:
    """Its HTTP port."""
    assert server.http is not None
    return server.http.port


async def raw(port: int, data: bytes, *, seconds: float = 10) -> bytes:
    """All that comes back for these bytes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), seconds)
    finally:
        writer.close()
