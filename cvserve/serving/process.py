"""The server as a process: settings, signals, the lines it prints, its exit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

from cvserve import __version__
from cvserve.serving.event_loop import run_loop
from cvserve.serving.observability import logs
from cvserve.serving.server import Server
from cvserve.serving.settings import ServerSettings, load_settings

_LOG = logging.getLogger(__name__)

SWITCH_SECONDS = 0.0001
"""Seconds that a thread may keep the interpreter's lock when another one wants it. With Python's 5 ms, a worker that
has finished a batch waits, with its core idle, until the loop has handled all messages that came."""

_OUTPUT: list[logs.Handler] = []
"""The handler that writes the lines of the running server to standard output; empty while none runs."""


def serve(
    repository: str | Path,
    settings: str | Path | dict[str, Any] | ServerSettings | None = None,
    **overrides: Any,
) -> None:
    """Serves the models of a repository until SIGTERM or SIGINT, then lets accepted requests finish.

    Args:
        repository: `<model>/<version>/` directories, one model's directory, or one version's.
        settings: a YAML file, a mapping or settings; see `ServerSettings`.
        overrides: single settings that win over `settings`, such as `port=8500`.

    A second signal, or the end of the grace time with requests unanswered, ends the process at once with code 1. If
    standard output or the log is not read, the process ends with code 0 without waiting for a reader.

    Raises:
        NotFound, InvalidInput: nothing to serve, a setting that does not fit, a port in use.
        CvserveError: not one model could be loaded.
        MissingExtra: the serving libraries are not installed.
    """
    run(Server(repository, load_settings(settings, **overrides), report=say))


def run(server: Server, background: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
    """Starts the server and serves until SIGTERM or SIGINT; see `serve`.

    Args:
        background: other work for the server's loop, from the moment that the server is ready until it stops.
    """
    logs.set_up(server.settings.log_format, server.settings.log_level)
    sys.setswitchinterval(SWITCH_SECONDS)
    # A process may have been given no standard output.
    output = None if sys.stdout is None else logs.Handler(sys.stdout)
    if output is not None:
        _OUTPUT.append(output)
    try:
        run_loop(_serve(server, background))
    finally:
        written = _flush()
        if output is not None:
            _OUTPUT.remove(output)
            output.close()
    if not written:
        # The interpreter would wait for the reader at its end.
        os._exit(0)


async def _serve(server: Server, background: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(name: str) -> None:
        if stop.is_set():
            say(f"{name} again: ending at once")
            _exit(1)
        stop.set()
        say(f"{name}: draining")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, signal.Signals(number).name)
    say(f"cvserve {__version__} is loading")
    starting = asyncio.ensure_future(server.start())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        # The loading of a graph cannot be interrupted, so the process does not wait for it. But a model that was loaded
        # before it may have accepted requests.
        if server.in_flight and not await server.drain():
            _cut_off(server)
        say("stopped while loading")
        _exit(0)
    await starting
    for line in server.describe():
        say(line)
    if server.http_address is not None:
        say(f"HTTP on {server.http_address}")
    say(f"ready: gRPC on {server.address}")
    background_task = asyncio.ensure_future(background()) if background is not None else None
    if background_task is not None:
        background_task.add_done_callback(_log_fault)
    await stopping
    if background_task is not None:
        background_task.cancel()
    if not await server.drain():
        _cut_off(server)
    say("stopped")
    if server.engine.reconciler.loading:
        # A new version is being loaded; the process does not wait for it either.
        _exit(0)


def _log_fault(task: asyncio.Future[None]) -> None:
    """Logs an unexpected error of the work beside the server; the server goes on."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.error("the background task %r failed; the server goes on", task, exc_info=error)


def _cut_off(server: Server) -> NoReturn:
    say(f"{server.cut_off} requests were cut off after {server.settings.grace_seconds:g} s")
    _exit(1)


def say(line: str) -> None:
    """Prints a line for the operator to standard output."""
    # A model's name may hold characters that the terminal's encoding lacks, or bytes that are not text.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = logs.output_line(line).encode(encoding, "backslashreplace").decode(encoding)
    # The reader of the lines may be gone, or the disk full. The server goes on serving or draining all the same.
    if _OUTPUT:
        _OUTPUT[-1].write(text)
        return
    with contextlib.suppress(OSError):
        print(text, flush=True)


def _flush() -> bool:
    """Waits until all lines are written, for a second at most; returns whether they are."""
    return all([logs.flush(), *(handler.drain() for handler in _OUTPUT)])


def _exit(code: int) -> NoReturn:
    if _flush():
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
    # Not sys.exit: it would wait for threads that are inside a graph.
    os._exit(code)
