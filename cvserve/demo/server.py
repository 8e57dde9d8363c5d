"""Runs a server process for the length of a `with`."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cvserve.client import Client
from cvserve.errors import CvserveError, Unavailable

_START_SECONDS = 120.0
_STOP_SECONDS = 30.0


@contextmanager
def running_server(repository: Path, models: Sequence[str], log: Path, options: Sequence[str] = ()) -> Iterator[Client]:
    """Runs `cvserve serve repository` on a free local port, and yields a client once all `models` are available.

    Args:
        options: more arguments of the command, such as "--runtime", "onnx".

    Raises:
        CvserveError: the server ended early, or did not end with code 0 on SIGTERM.
    """
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "cvserve.cli",
        "serve",
        str(repository),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        *options,
    ]
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        try:
            with Client(f"127.0.0.1:{port}") as client:
                _wait(process, client, models, log)
                yield client
            process.send_signal(signal.SIGTERM)
            if process.wait(_STOP_SECONDS) != 0:
                raise CvserveError(f"the server ended with code {process.returncode}; see {log}")
        finally:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], client: Client, models: Sequence[str], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            for model in models:
                client.model_info(model)
            return
        except Unavailable as error:
            if process.poll() is not None:
                raise CvserveError(
                    f"the server ended with code {process.returncode} before it was ready; see {log}"
                ) from error
            if time.monotonic() > deadline:
                raise CvserveError(f"the server was not ready after {_START_SECONDS:.0f} s; see {log}") from error
        time.sleep(0.1)
