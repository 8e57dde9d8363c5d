"""Reads and unpacks the bodies of requests, in bounded time and memory."""

from __future__ import annotations

import asyncio
import zlib
from concurrent.futures import Executor
from typing import Any

from aiohttp import web

from cvserve.errors import InvalidInput, Overloaded, TooLarge, TooSlow

_GZIP = 16 + zlib.MAX_WBITS
_UNPACKED_INLINE = 1 << 10
"""Larger bodies are unpacked on a thread, since gzip may unpack to a thousand times its size. zlib releases the
interpreter's lock."""

_STEP = 1 << 20


class Bodies:
    """Reads bodies. The bytes of all bodies together are limited, so that many senders cannot fill the memory."""

    def __init__(self, max_bytes: int, max_in_use: int, seconds: float, threads: Executor) -> None:
        """
        Args:
            max_bytes: the largest size of one body, also after unpacking.
            max_in_use: the bytes of all bodies that are being received or used.
            seconds: the longest time that a body may take to arrive.
            threads: unpack large bodies.
        """
        self.max_bytes = max_bytes
        self.seconds = seconds
        self.threads = threads
        self._max_in_use = max_in_use
        self.bytes_in_use = 0

    def open(self, request: web.BaseRequest) -> Body:
        """Returns the body of a request, which is not read yet."""
        return Body(self, request)

    def take(self, body: Body, size: int) -> None:
        """Counts bytes for a body. Called by `Body`.

        Raises:
            TooLarge, Overloaded
        """
        if body.size + size > self.max_bytes:
            raise TooLarge(f"the body is larger than the {self.max_bytes} bytes that this server takes")
        # If there is no other body, one of any size is let in, since its own bytes are not counted here.
        if self.bytes_in_use > body.size and self.bytes_in_use + size > self._max_in_use:
            raise Overloaded(f"bodies of {self.bytes_in_use >> 20} MiB are being read; try again later")
        body.size += size
        self.bytes_in_use += size


class Body:
    """Reads one body, whose bytes are counted until its block ends.

    Example:
        with bodies.open(request) as body:
            data = await body.read()
    """

    def __init__(self, bodies: Bodies, request: web.BaseRequest) -> None:
        self._bodies = bodies
        self._request = request
        self.size = 0

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        self._bodies.bytes_in_use -= self.size
        self.size = 0

    async def read(self) -> bytes:
        """Returns the whole body, unpacked.

        Raises:
            TooLarge, TooSlow, Overloaded
            InvalidInput: the encoding is unknown, or the body does not match it.
        """
        request = self._request
        encoding = request.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise InvalidInput(f"Content-Encoding {encoding!r} is not known here; send gzip, or the body as it is")
        length = request.content_length
        if length is not None and length > self._bodies.max_bytes:
            raise TooLarge(f"the body has {length} bytes; this server takes at most {self._bodies.max_bytes}")
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        try:
            if request.content.is_eof():
                packed = await self._read()
            else:
                packed = await asyncio.wait_for(self._read(), self._bodies.seconds)
        except asyncio.TimeoutError:
            raise TooSlow(f"the body did not come within {self._bodies.seconds:g} s") from None
        except web.RequestPayloadError as error:
            raise InvalidInput(f"the body cannot be read: {' '.join(str(error).split())}") from None
        if not encoding.endswith("gzip"):
            return packed
        if len(packed) <= _UNPACKED_INLINE:
            body = self._unpack(packed)
        else:
            body = await asyncio.get_running_loop().run_in_executor(self._bodies.threads, self._unpack, packed)
        self._bodies.take(self, len(body) - len(packed))
        return body

    async def _read(self) -> bytes:
        content = self._request.content
        chunks: list[bytes] = []
        while True:
            chunk = await content.readany()
            if not chunk:
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self._bodies.take(self, len(chunk))
            chunks.append(chunk)

    def _unpack(self, packed: bytes) -> bytes:
        """Unpacks gzip data, which may have several members."""
        parts: list[bytes] = []
        size = 0
        rest: Any = packed
        try:
            while rest:
                member = zlib.decompressobj(_GZIP)
                while not member.eof:
                    part = member.decompress(rest, _STEP)
                    if not part and not member.eof:
                        raise InvalidInput("the body is gzip that ends too early")
                    size += len(part)
                    if size > self._bodies.max_bytes:
                        raise TooLarge(f"the body unpacks to more than {self._bodies.max_bytes} bytes")
                    parts.append(part)
                    rest = member.unconsumed_tail
                rest = member.unused_data
        except zlib.error as error:
            raise InvalidInput(f"the body is not gzip, as its Content-Encoding says: {error}") from None
        return b"".join(parts)
