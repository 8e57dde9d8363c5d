"""Unary gRPC calls for as little of the processor as Python allows, for clients that share the cores with the server.

gRPC's own client costs 0.3 to 0.5 ms a call, which is 5 % of what a small network and its image cost: a benchmark on
one machine then measures its clients. This one writes a call in two buffers that were made before, and reads of the
answer what it must: 0.05 ms where calls follow each other closely, 0.2 where each one wakes it. It knows just enough of
HTTP/2 (RFC 9113), HPACK (RFC 7541) and gRPC's use of it (grpc/doc/PROTOCOL-HTTP2.md): no TLS, no compression, no
continued header blocks, no retries.
"""

from __future__ import annotations

import asyncio
import heapq
import struct
from collections import deque
from collections.abc import Callable
from typing import cast

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_HEADER_TABLE_SIZE, _MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 1, 3, 4, 5
_CANCEL = 8
_LARGEST_WINDOW = (1 << 31) - 1
_FIRST_WINDOW = 65_535

OK, CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE = 0, 1, 4, 14
"""gRPC's numbers of the codes that are given here; any other comes from the server."""


class Refused(Exception):
    """A call that ended with another code than OK."""

    def __init__(self, code: int) -> None:
        super().__init__(f"gRPC status {code}")
        self.code = code


Done = Callable[[int, bytes], None]
"""Told of the end of a call: its code, and the serialised answer, empty unless the code is OK."""


class _Stream:
    __slots__ = ("at", "body", "data", "done", "number", "status", "window")

    def __init__(self, number: int, data: memoryview, window: int, done: Done) -> None:
        self.number = number
        self.data = data
        self.at = 0
        self.window = window
        self.done = done
        self.body = b""
        self.status: int | None = None


class Connection(asyncio.Protocol):
    """One connection for calls of one method. Used on the loop's thread."""

    def __init__(self, authority: str, method: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._authority, self._method = authority, method
        self._blocks: dict[float | None, bytes] = {}
        self._messages: dict[bytes, memoryview] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._buffer = b""
        self._next = 1
        self._window = _FIRST_WINDOW
        self._stream_window = _FIRST_WINDOW
        self._frame_size = 16_384
        self._most_streams = 100
        self._streams: dict[int, _Stream] = {}
        self._blocked: deque[_Stream] = deque()
        self._turns: deque[tuple[bytes, float | None, Done]] = deque()
        self.ready: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    async def open(cls, target: str, method: str) -> Connection:
        """Connects and waits for the server's settings.

        Args:
            target: host:port.
            method: "/package.Service/Method".

        Raises:
            OSError: nobody listens there.
        """
        host, _, port = target.rpartition(":")
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: cls(target, method), host.strip("[]"), int(port)
        )
        await connection.ready
        return connection

    async def call(self, request: bytes, timeout: float | None = None) -> bytes:
        """One call.

        Args:
            request, timeout: of `begin`.

        Returns:
            The serialised answer.

        Raises:
            Refused: any other code than OK.
        """
        answer: asyncio.Future[bytes] = self._loop.create_future()

        def done(code: int, body: bytes) -> None:
            if answer.done():
                return
            if code == OK:
                answer.set_result(body)
            else:
                answer.set_exception(Refused(code))

        self.begin(request, timeout, done)
        try:
            return await answer
        except asyncio.CancelledError:
            self._forget(done)
            raise

    def begin(self, request: bytes, timeout: float | None, done: Done) -> None:
        """Begins a call, or lets it wait while the server allows no more of them on a connection.

        Args:
            request: the serialised message; one of a few, which are kept as they are sent.
            timeout: seconds, told to the server and kept here.
            done: called once, on the loop's thread; not to raise.
        """
        if self._transport.is_closing():
            done(UNAVAILABLE, b"")
            return
        if len(self._streams) >= self._most_streams:
            self._turns.append((request, timeout, done))
            return
        number = self._next
        self._next += 2
        data = self._messages.get(request)
        if data is None:
            data = self._messages[request] = memoryview(b"\0" + len(request).to_bytes(4, "big") + request)
        stream = self._streams[number] = _Stream(number, data, self._stream_window, done)
        if timeout is not None:
            heapq.heappush(self._deadlines, (self._loop.time() + timeout, number))
            if self._deadlines[0][1] == number:
                self._set_timer()
        block = self._blocks.get(timeout) or self._header_block(timeout)
        self._send(stream, _frame(_HEADERS, _END_HEADERS, number, block))

    def close(self) -> None:
        """Ends the connection and every call on it."""
        self._transport.close()

    # From the transport:

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        # No table, so that every header of an answer is written out; windows that no answer will fill.
        settings = struct.pack(">HIHI", _HEADER_TABLE_SIZE, 0, _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
        self._transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW_UPDATE, 0, 0, (_LARGEST_WINDOW - _FIRST_WINDOW).to_bytes(4, "big"))
        )

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        at, end = 0, len(data)
        while end - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if end - at - 9 < length:
                break
            number = int.from_bytes(data[at + 5 : at + 9], "big")
            self._received(data[at + 3], data[at + 4], number, data[at + 9 : at + 9 + length])
            at += 9 + length
        self._buffer = data[at:]

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for stream in list(self._streams.values()):
            self._end(stream, UNAVAILABLE)
        while self._turns:
            self._turns.popleft()[2](UNAVAILABLE, b"")
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the server closed the connection"))

    # Frames:

    def _received(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind in (_DATA, _HEADERS):
            stream = self._streams.get(number)
            if stream is None:
                return
            if flags & _PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            if kind == _DATA:
                stream.body += payload
            else:
                self._read_headers(stream, payload[5:] if flags & _PRIORITY else payload)
            if flags & _END_STREAM:
                self._end(stream, UNAVAILABLE if stream.status is None else stream.status)
        elif kind == _WINDOW_UPDATE:
            grown = int.from_bytes(payload, "big")
            if number == 0:
                self._window += grown
            elif number in self._streams:
                self._streams[number].window += grown
            self._unblock()
        elif kind == _SETTINGS and not flags & _ACK:
            self._read_settings(payload)
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _RST_STREAM and number in self._streams:
            stream = self._streams[number]
            self._end(stream, CANCELLED if stream.status is None else stream.status)
        elif kind == _GOAWAY:
            self._transport.close()

    def _read_headers(self, stream: _Stream, block: bytes) -> None:
        # Without a table, and since gRPC writes names and digits as they are, it stands there in plain text.
        at = block.find(b"grpc-status")
        if at >= 0:
            at += len(b"grpc-status")
            stream.status = int(block[at + 1 : at + 1 + block[at]])

    def _read_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW_SIZE:
                for stream in self._streams.values():
                    stream.window += value - self._stream_window
                self._stream_window = value
            elif name == _MAX_FRAME_SIZE:
                self._frame_size = value
            elif name == _MAX_CONCURRENT_STREAMS:
                self._most_streams = value
        self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        if not self.ready.done():
            self.ready.set_result(None)
        self._unblock()

    def _send(self, stream: _Stream, before: bytes = b"") -> None:
        """Writes as much as the windows allow; the rest when they have grown."""
        parts: list[bytes | memoryview] = [before] if before else []
        left = len(stream.data) - stream.at
        while left:
            size = min(left, self._frame_size, self._window, stream.window)
            if size <= 0:
                self._blocked.append(stream)
                break
            left -= size
            parts.append(_head(size, _DATA, 0 if left else _END_STREAM, stream.number))
            parts.append(stream.data[stream.at : stream.at + size])
            stream.at += size
            stream.window -= size
            self._window -= size
        self._transport.writelines(parts)

    def _unblock(self) -> None:
        for _ in range(len(self._blocked)):
            stream = self._blocked.popleft()
            if stream.number in self._streams:
                self._send(stream)

    def _give_up(self, stream: _Stream, code: int) -> None:
        if stream.number in self._streams:
            self._transport.write(_frame(_RST_STREAM, 0, stream.number, _CANCEL.to_bytes(4, "big")))
            self._end(stream, code)

    def _forget(self, done: Done) -> None:
        """Whoever waited for this is gone."""
        for stream in self._streams.values():
            if stream.done is done:
                self._give_up(stream, CANCELLED)
                return
        self._turns = deque(turn for turn in self._turns if turn[2] is not done)

    def _look_at_deadlines(self) -> None:
        now, late = self._loop.time(), []
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][1] not in self._streams):
            stream = self._streams.get(heapq.heappop(self._deadlines)[1])
            if stream is not None:
                late.append(stream)
        self._set_timer()
        for stream in late:
            self._give_up(stream, DEADLINE_EXCEEDED)

    def _set_timer(self) -> None:
        """One for all calls is cheaper than one for each."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadlines[0][0], self._look_at_deadlines) if self._deadlines else None

    def _end(self, stream: _Stream, code: int) -> None:
        del self._streams[stream.number]
        stream.done(code, stream.body[5:] if code == OK else b"")
        if self._turns and len(self._streams) < self._most_streams:
            self.begin(*self._turns.popleft())

    def _header_block(self, timeout: float | None) -> bytes:
        # 0x83, 0x86: ":method: POST" and ":scheme: http" of the static table; 0x04, 0x01: its ":path", ":authority".
        block = b"\x83\x86\x04" + _string(self._method) + b"\x01" + _string(self._authority)
        headers = {"content-type": "application/grpc", "te": "trailers", "user-agent": "cvserve-bench"}
        if timeout is not None:
            headers["grpc-timeout"] = f"{round(timeout * 1000)}m"
        for name, value in headers.items():
            block += b"\0" + _string(name) + _string(value)
        self._blocks[timeout] = block
        return block


def _head(length: int, kind: int, flags: int, number: int) -> bytes:
    return length.to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big")


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return _head(len(payload), kind, flags, number) + payload


def _string(text: str) -> bytes:
    """HPACK's string literal; at most 126 bytes."""
    data = text.encode()
    if len(data) > 126:
        raise ValueError(f"{text!r} is too long for a header here")
    return bytes((len(data),)) + data
