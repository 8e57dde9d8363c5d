"""The server as a process: what it prints, and how signals end it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_kit import jpeg, repository
from tiny_artifact import publish_tiny

from cvserve.client import Client
from cvserve.errors import CvserveError, Unavailable

pytest.importorskip("tensorflow_serving")

TESTS = Path(__file__).resolve().parents[1]

# A server whose graph takes the seconds of the second argument.
SLOW = """
import asyncio, sys, time
from serving_kit import PuppetRuntime, loader
from cvserve.serving import Server, ServerSettings
from cvserve.serving.process import _serve, say

class Slow(PuppetRuntime):
    def run(self, inputs, outputs=None):
        time.sleep(float(sys.argv[2]))
        return super().run(inputs, outputs)

settings = ServerSettings(host="127.0.0.1", port=0, max_batch_size=1, grace_seconds=float(sys.argv[3]))
asyncio.run(_serve(Server(sys.argv[1], settings, load_model=loader(Slow()), report=say)))
"""

# A server that never finishes loading version 2.
STUCK = """
import sys, time
from pathlib import Path
from serving_kit import PuppetRuntime, loader
from cvserve.serving import Server, ServerSettings
from cvserve.serving.process import run, say

plain = loader(PuppetRuntime())

def load(directory, settings):
    if directory.name == "2":
        (Path(sys.argv[1]).parent / "begun").touch()
        time.sleep(60)
    return plain(directory, settings)

settings = ServerSettings(host="127.0.0.1", port=0, grace_seconds=5, poll_seconds=0.05)
run(Server(sys.argv[1], settings, load_model=load, report=say))
"""

REAL = """
import sys
from cvserve.serving import serve
serve(sys.argv[1], host="127.0.0.1", port=0, max_batch_size=2, instances=1, threads=1)
"""


class Process:
    """Runs a server as a process."""

    def __init__(self, code: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(TESTS)},
        )
        self.lines: list[str] = []
        self.address = self._until_ready()

    def _until_ready(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if line.startswith("ready: gRPC on "):
                return line.split()[-1]
        raise AssertionError(f"it never was ready: {self.lines} {self.process.communicate()[1]}")

    def end(self, seconds: float) -> int:
        """Returns the exit code, if the process ends by itself in that time."""
        output, errors = self.process.communicate(timeout=seconds)
        self.lines += output.splitlines()
        assert "Traceback" not in errors, errors
        return self.process.returncode


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return repository(tmp_path / "models")


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    made: list[Process] = []
    yield made
    for process in made:
        process.process.kill()
        process.process.wait()


def ask_and_be_cut_off(client: Client) -> None:
    with contextlib.suppress(CvserveError):
        client.classify("colours", jpeg())


@pytest.mark.slow
def test_sigterm_finishes_what_was_accepted_and_exits_0(root: Path, processes: list[Process]) -> None:
    server = Process(SLOW, str(root), "1.5", "20")
    processes.append(server)
    with Client(server.address) as client, Client(server.address) as other:
        other.model_info("colours")
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(client.classify("colours", jpeg("blue")).best.label))
        asking.start()
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(Unavailable, match="the server is shutting down"):
            other.classify("colours", jpeg())
        asking.join()
        assert answers == ["blue"]
    assert server.end(10) == 0
    assert server.lines[-2:] == ["SIGTERM: draining", "stopped"]


@pytest.mark.slow
def test_a_second_signal_ends_at_once(root: Path, processes: list[Process]) -> None:
    server = Process(SLOW, str(root), "60", "60")
    processes.append(server)
    with Client(server.address) as client:
        asking = threading.Thread(target=ask_and_be_cut_off, args=(client,))
        asking.start()
        time.sleep(0.5)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        assert server.end(3) == 1
        asking.join()
    assert server.lines[-2:] == ["SIGINT: draining", "SIGINT again: ending at once"]


@pytest.mark.slow
def test_the_grace_time_ends_what_does_not_end(root: Path, processes: list[Process]) -> None:
    server = Process(SLOW, str(root), "60", "0.5")
    processes.append(server)
    with Client(server.address) as client:
        asking = threading.Thread(target=ask_and_be_cut_off, args=(client,))
        asking.start()
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        assert server.end(5) == 1
        asking.join()
    assert server.lines[-1] == "1 requests were cut off after 0.5 s"


@pytest.mark.slow
def test_sigterm_does_not_wait_for_a_version_that_is_being_loaded(root: Path, processes: list[Process]) -> None:
    server = Process(STUCK, str(root))
    processes.append(server)
    publish_tiny(root / "colours")
    ends_at = time.monotonic() + 20
    while not (root.parent / "begun").exists():
        assert time.monotonic() < ends_at
        time.sleep(0.01)
    with Client(server.address) as client:
        assert client.classify("colours", jpeg()).best.label == "red"
    server.process.send_signal(signal.SIGTERM)
    assert server.end(10) == 0
    assert server.lines[-1] == "stopped"


@pytest.mark.slow
def test_a_server_whose_reader_has_gone_still_drains(root: Path, processes: list[Process]) -> None:
    server = Process(SLOW, str(root), "0", "5")
    processes.append(server)
    assert server.process.stdout is not None
    server.process.stdout.close()
    with Client(server.address) as client:
        assert client.classify("colours", jpeg()).best.label == "red"
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(10) == 0


def test_names_that_the_terminal_cannot_write_raise_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from cvserve.serving.process import say

    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    say("m\u00fcll version 1: onnx")
    say(os.fsdecode(b"m\xff version 1: onnx"))
    assert written.getvalue().splitlines() == [rb"m\xfcll version 1: onnx", rb"m\udcff version 1: onnx"]


@pytest.mark.slow
def test_serve_prints_what_it_serves_and_answers(root: Path, processes: list[Process]) -> None:
    server = Process(REAL, str(root))
    processes.append(server)
    with Client(server.address) as client:
        assert client.classify("colours", jpeg("green")).best.label == "green"
    assert server.lines[0].startswith("cvserve ")
    assert server.lines[1] == "colours version 1: onnx, 1 instance x 1 thread, batches up to 2, delay 0 ms"
    server.process.send_signal(signal.SIGTERM)
    assert server.end(10) == 0


READ_NO_MORE = """
import fcntl, os, sys
from cvserve.serving import serve
fcntl.fcntl(1, 1031, 4096)  # F_SETPIPE_SZ
serve(sys.argv[1], host="127.0.0.1", port=0, max_batch_size=2, instances=1, threads=1, log_requests="all")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the size of a pipe is Linux's")
@pytest.mark.parametrize("signals", [1, 2])
def test_a_reader_that_stops_reading_does_not_delay_the_end(root: Path, signals: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", READ_NO_MORE, str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
    )
    try:
        assert process.stdout is not None
        # As iterating reads ahead, which would take what is to stay in the pipe.
        while not (line := process.stdout.readline()).startswith("ready: gRPC on "):
            assert line, "it never was ready"
        with Client(line.split()[-1]) as client:
            for _ in range(100):
                client.classify("colours", jpeg())
        for _ in range(signals):
            process.send_signal(signal.SIGTERM)
        # The first may have ended it before the second came.
        assert process.wait(10) in ((0,) if signals == 1 else (0, 1))
    finally:
        process.kill()
        process.communicate()


WITHOUT_OUTPUT = """
import os, signal, sys
from pathlib import Path
from cvserve.serving import Server, load_settings
from cvserve.serving.process import run, say

async def end():
    os.kill(os.getpid(), signal.SIGTERM)

sys.stdout = None
settings = load_settings({"host": "127.0.0.1", "port": 0, "max_batch_size": 2, "instances": 1, "threads": 1})
run(Server(sys.argv[1], settings, report=say), end)
Path(sys.argv[2]).touch()
"""


def test_a_process_without_an_output_serves_and_goes_on_afterwards(root: Path, tmp_path: Path) -> None:
    """As a daemon or a windowed program."""
    command = [sys.executable, "-c", WITHOUT_OUTPUT, str(root), str(tmp_path / "afterwards")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(TESTS)})
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert (tmp_path / "afterwards").exists()


def test_importing_the_server_imports_no_large_library() -> None:
    code = (
        "import cvserve.serving, sys; "
        "print([name for name in ('tensorflow', 'onnxruntime', 'grpc', 'cv2', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    code = (
        "from cvserve.serving import serve, Server, load_settings; import sys; "
        "print([name for name in ('tensorflow', 'onnxruntime', 'tensorflow_serving') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
