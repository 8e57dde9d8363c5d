"""Runs the processes that measure and are measured: helpers that take orders line by line, and the server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from cvserve.errors import CvserveError
from cvserve.serving.core.thread_names import DECODING, GRAPHS, OF_TENSORFLOW

_SERVE = """
import json, os, signal, sys, threading
from cvserve.serving import serve

def end_with_parent():
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=end_with_parent, daemon=True).start()
serve(sys.argv[1], json.loads(sys.argv[2]))
"""
_STOPS_WITHIN_SECONDS = 60.0

PARTS = ("workers", "decoders", "loop", "rest")
"""The parts of a server by its threads: workers (graphs, and the decoding that they do themselves), decoding threads,
the event loop, and gRPC's own threads with all others."""


@dataclass(frozen=True)
class ThreadTime:
    """Holds the processor time of a thread. part: one of `PARTS`. seconds: the time so far."""

    part: str
    seconds: float


class Helper:
    """Runs `python -m MODULE ...`, which prints {"ready": ...} and then answers each line of JSON with one."""

    def __init__(self, module: str, *arguments: str) -> None:
        """Starts the process and waits until it is ready.

        Raises:
            CvserveError: the process ended; the text has the last line that it wrote.
        """
        self._process = _start([sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE)
        self._errors = _Tail(self._process.stderr)
        self.ready = self._read()["ready"]

    def ask(self, **order: Any) -> dict[str, Any]:
        """Sends an order and waits for its answer.

        Raises:
            CvserveError: the helper ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self._read()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=_STOPS_WITHIN_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # Libraries may print lines too.
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise self._ended()

    def _ended(self) -> CvserveError:
        code = self._process.wait()
        return CvserveError(f"a measuring process ended with {code}: {self._errors.last()}")


def serve_orders(answers: Mapping[str, Any], ready: Any) -> None:
    """Answers the orders of a `Helper` from stdin, in the helper's own process, until stdin ends.

    Args:
        answers: the functions by the "do" of an order; they get the other fields of the order.
        ready: sent first.
    """
    print(json.dumps({"ready": ready}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(answers[order.pop("do")](**order)), flush=True)


class ServerProcess:
    """Runs `serve` in its own process, on a free port that only this machine can reach."""

    def __init__(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        """Starts the server and waits until it is ready.

        Raises:
            CvserveError: the server did not get ready; the text has the lines that it wrote.
        """
        values = {**settings, "host": "127.0.0.1", "port": 0}
        command = [sys.executable, "-c", _SERVE, str(path), json.dumps(values)]
        self._process = _start(command, stdin=subprocess.PIPE)
        self._errors = _Tail(self._process.stderr)
        self.lines: list[str] = []
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.strip())
            if line.startswith("ready"):
                break
        address = re.search(r"gRPC on ([^\s,;]+)", self.lines[-1]) if self.lines else None
        if address is None:
            self._process.wait()
            output = "; ".join(filter(None, [*self.lines, self._errors.last()]))
            raise CvserveError(f"the server did not get ready: {output}")
        self.target = address[1]
        over_http = re.search(r"HTTP on (http\S+)", "\n".join(self.lines))
        self.http = over_http[1] if over_http else None
        # Reading goes on, since a full pipe would block the server.
        self._rest = _Tail(self._process.stdout)

    @property
    def pid(self) -> int:
        """Returns the number of the process."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """Returns the processor seconds so far, in steps of usually 10 ms; 0.0 where there is no /proc."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1]
        except OSError:
            return 0.0
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def threads(self) -> dict[int, ThreadTime]:
        """Returns the living threads by their numbers; none where there is no /proc."""
        threads = {}
        for thread in Path(f"/proc/{self.pid}/task").glob("*"):
            try:
                name = (thread / "comm").read_text(encoding="utf-8", errors="replace")
                spent = int((thread / "schedstat").read_text(encoding="ascii").split()[0])
            except (OSError, IndexError):
                continue  # the thread has ended meanwhile
            number = int(thread.name)
            threads[number] = ThreadTime(part_of(number == self.pid, name), spent / 1e9)
        return threads

    def memory_mib(self) -> float:
        """Returns the proportional set size in MiB; 0.0 where there is no /proc."""
        try:
            for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) / 1024
        except OSError:
            return 0.0
        return 0.0

    def close(self) -> None:
        """Ends the server with SIGTERM."""
        self._process.terminate()
        try:
            self._process.wait(timeout=_STOPS_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def part_of(is_first: bool, name: str) -> str:
    """Returns the part of the server that a thread belongs to, one of `PARTS`.

    Args:
        is_first: whether it is the first thread of the process.
        name: the system's name of the thread.
    """
    if is_first:
        return "loop"
    if name.startswith((GRAPHS, OF_TENSORFLOW)):
        return "workers"
    return "decoders" if name.startswith(DECODING) else "rest"


def spent_between(before: Mapping[int, ThreadTime], after: Mapping[int, ThreadTime]) -> dict[str, float]:
    """Returns the processor seconds by part, of the threads that exist at the end; empty where there are none.

    The time of threads that ended in between is not known.
    """
    if not after:
        return {}
    totals = dict.fromkeys(PARTS, 0.0)
    for number, now in after.items():
        totals[now.part] += now.seconds - (before[number].seconds if number in before else 0.0)
    return totals


def _start(command: list[str], stdin: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )


class _Tail:
    """Reads a pipe to its end, in a thread, and keeps the last lines."""

    def __init__(self, stream: TextIO | Any) -> None:
        self._lines: deque[str] = deque(maxlen=20)
        self._thread = threading.Thread(target=self._follow, args=(stream,), daemon=True)
        self._thread.start()

    def last(self) -> str:
        """Returns the last line that is not empty, once the writer has ended."""
        self._thread.join(timeout=5)
        return next((line for line in reversed(self._lines) if line), "it wrote nothing")

    def _follow(self, stream: TextIO) -> None:
        for line in stream:
            self._lines.append(line.strip())
