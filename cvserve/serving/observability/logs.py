"""Writes the server's log to standard error: one line for each event, as text or as JSON.

No failure of the log may stop the server, neither a full disk nor a reader that has gone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import sys
import time
from contextvars import ContextVar
from logging.handlers import QueueHandler, QueueListener
from typing import IO, Any, Literal, Protocol

_REQUESTS = logging.getLogger("cvserve.requests")

Format = Literal["console", "json"]
Level = Literal["debug", "info", "warning", "error"]

MAX_WAITING = 10_000
"""Number of lines that may wait to be written."""

FLUSH_SECONDS = 1.0

FIELDS = "fields"
"""The attribute of a record that holds the further fields of a JSON line."""


class Request(Protocol):
    """Lists the attributes of a request that the log reads."""

    api: str
    model: str
    version: int | None
    caller: str

    @property
    def request_id(self) -> str:
        """Returns the id by which the client knows the request."""

    @property
    def peer(self) -> str:
        """Returns where the request came from."""


REQUEST: ContextVar[Request | None] = ContextVar("cvserve_request", default=None)
"""The request that the current task works on. Its id is in every line that the task logs."""


def set_up(format: Format = "console", level: Level = "info", stream: IO[str] | None = None) -> None:
    """Sends the log of cvserve, and the warnings of all other libraries, to `stream` (by default standard error)."""
    handler = Handler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else ConsoleFormatter())
    root = logging.getLogger()
    for old in _handlers():
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    logging.getLogger("cvserve").setLevel(level.upper())


def output_line(text: str) -> str:
    """Returns a line for standard output in the format of the log: as it is, or as a JSON object."""
    for handler in _handlers():
        if isinstance(handler.formatter, JsonFormatter):
            return handler.format(logging.LogRecord("cvserve.server", logging.INFO, "", 0, text, None, None))
    return text


def flush() -> bool:
    """Waits until all lines are written, a second at most for each stream. Returns whether they are."""
    return all([handler.drain() for handler in _handlers()])


def _handlers() -> list[Handler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, Handler)]


class Handler(QueueHandler):
    """Formats records on the thread that logs, and writes them on another thread, so that a slow disk or reader delays
    nothing else. A line that comes while MAX_WAITING lines wait, or that cannot be written, is dropped."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines: queue.Queue[Any] = queue.Queue(MAX_WAITING)
        super().__init__(self._lines)
        self._not_taken = 0
        self._writer = _Writer(self._lines, stream)
        self._writer.start()

    @property
    def dropped(self) -> int:
        """Returns the number of lines that were dropped."""
        return self._not_taken + self._writer.failed

    def write(self, line: str) -> None:
        """Queues a line to be written."""
        self.handle(logging.LogRecord("cvserve", logging.INFO, "", 0, line, None, None))

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Returns a record whose message is the formatted line."""
        try:
            prepared: logging.LogRecord = super().prepare(record)
        except Exception as error:  # noqa: BLE001 - lines of other libraries, whose arguments may not fit their text
            text = f"{record.msg!r} cannot be written: {error}"
            prepared = super().prepare(logging.LogRecord(record.name, record.levelno, "", 0, text, None, None))
        return prepared

    def handleError(self, record: logging.LogRecord) -> None:
        """Counts a line that was dropped because the queue was full."""
        self._not_taken += 1

    def drain(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Waits at most `seconds` until all lines so far are written. Returns whether they are."""
        with self._lines.all_tasks_done:
            return self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, seconds)

    def flush(self) -> None:
        """Waits until all lines so far are written, for a second at most."""
        self.drain()

    def close(self) -> None:
        """Ends the thread after the waiting lines. Lines that come later are lost."""
        super().close()
        # Not QueueListener.stop, which waits for ever if the stream is stuck.
        with contextlib.suppress(queue.Full):
            self._writer.enqueue_sentinel()


class _Writer(QueueListener):
    """Writes formatted lines to a stream, on a thread of its own. failed: lines that could not be written."""

    def __init__(self, lines: queue.Queue[Any], stream: IO[str]) -> None:
        super().__init__(lines)
        self._stream = stream
        self.failed = 0

    def handle(self, record: logging.LogRecord) -> None:
        """Writes one line."""
        try:
            self._stream.write(f"{record.msg}\n")
            self._stream.flush()
        except (OSError, ValueError):
            # A full disk or a closed pipe. The stream may keep half of the line for its next attempt.
            self.failed += 1


class ConsoleFormatter(logging.Formatter):
    """Formats lines for people: `12:34:56 WARNING cvserve.serving.core.manager: text [id]`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Returns the line of a record, without its traceback."""
        # A name that a client sent may hold line ends; only a traceback may take further lines.
        line = super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")
        identity = _fields(record).get("request_id")
        return f"{line} [{identity}]" if identity else line


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time (UTC), level, logger, message, request_id, further fields,
    traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the JSON object of a record."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_request(request: Request, code: str, error: BaseException | None, seconds: float) -> None:
    """Logs the line of one answered request."""
    fields = {
        "request_id": request.request_id,
        "api": request.api,
        "model": request.model,
        "version": request.version,
        "code": code,
        "milliseconds": round(seconds * 1000, 3),
        "peer": request.peer,
    }
    if request.caller:
        fields["caller"] = request.caller
    if error is not None:
        fields["error"] = str(error)
    text = f"{request.api} {request.model} {code} {seconds * 1000:.1f} ms {request.peer}"
    level = logging.INFO if error is None else logging.WARNING
    _REQUESTS.log(level, "%s", text if error is None else f"{text}: {error}", extra={FIELDS: fields})


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, FIELDS, None) or {}
    request = REQUEST.get()
    return fields if fields or request is None else {"request_id": request.request_id}
