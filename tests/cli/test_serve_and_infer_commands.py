"""`cvserve serve` and `cvserve infer` as two processes, and the commands of the container."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("tensorflow_serving", reason="the server needs cvserve[serve]")
pytestmark = pytest.mark.slow  # TensorFlow's messages, and so TensorFlow, are part of the server's start

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
START_SECONDS = 120


@contextmanager
def serving(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen, str]]:
    """Yields a server process and its address, once it is ready."""
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    try:
        end = time.monotonic() + START_SECONDS
        while not (ready := re.search(r"ready: gRPC on \S+:(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield process, f"localhost:{ready[1]}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(repository: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    command = [sys.executable, "-m", "cvserve.cli", "serve", str(repository), "--host", "127.0.0.1", "--port", "0"]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with serving([*command, "--runtime", "onnx", "--instances", "1"], log, environment) as (_, address):
        yield address


def test_one_image(cvserve, server: str, photos: Path) -> None:
    done = cvserve("infer", server, "colour", photos / "red.png", "--top-k", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(photos / "red.png"), "  100.00%  red", "    0.00%  green"]


def test_rows_are_those_of_predict(cvserve, server: str, repository: Path, photos: Path) -> None:
    files = [photos / "red.png", photos / "sub" / "green.jpg", photos / "blue.png"]
    asked = cvserve("infer", server, "colour", *files, "--json")
    predicted = cvserve("predict", repository / "colour", *files, "--runtime", "onnx")
    assert asked.returncode == predicted.returncode == 0
    assert [json.loads(line) for line in asked.stdout.splitlines()] == [
        json.loads(line) for line in predicted.stdout.splitlines()
    ]


def test_bad_images_are_listed_and_the_others_answered(cvserve, server: str, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    done = cvserve("infer", server, "colour", "text.jpg", photos / "blue.png", "missing.jpg", "--json")
    assert done.returncode == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [set(row) == {"image", "error"} for row in rows] == [True, False, True]
    assert "2 of 3 inputs failed:" in done.stderr
    assert "missing.jpg: no such file" in done.stderr
    os.mkfifo(tmp_path / "pipe.jpg")
    done = cvserve("infer", server, "colour", "pipe.jpg")
    assert (done.returncode, "pipe.jpg: is not a regular file" in done.stderr) == (2, True)


def test_health(cvserve, server: str) -> None:
    assert cvserve("infer", server, "--health").stdout == "ready\n"
    assert cvserve("infer", server, "colour", "--health").returncode == 0
    unknown = cvserve("infer", server, "roses", "--health")
    assert unknown.returncode == 2
    assert "roses" in unknown.stderr
    assert "is not ready" in unknown.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_no_server_at_the_address(cvserve, photos: Path) -> None:
    address = f"localhost:{free_port()}"
    for words in ((address, "colour", photos / "red.png", "--timeout", "2"), (address, "--health", "--timeout", "2")):
        done = cvserve("infer", *words)
        assert done.returncode == 2
        assert address in done.stderr
        assert "Traceback" not in done.stderr


def test_an_unknown_model(cvserve, server: str, photos: Path) -> None:
    done = cvserve("infer", server, "roses", photos / "red.png")
    assert done.returncode == 2
    assert "roses" in done.stderr


def test_infer_needs_neither_tensorflow_nor_a_graph_library(server: str, photos: Path) -> None:
    code = f"""
import sys
from cvserve.cli.main import main
assert main(["infer", {server!r}, "colour", {str(photos / "red.png")!r}]) == 0
assert not {{"tensorflow", "keras", "onnxruntime", "ai_edge_litert"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, stdout=subprocess.DEVNULL)


def instructions() -> dict[str, str]:
    """The last instruction of each kind in the Dockerfile's last stage."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    last_stage = text[text.rindex("\nFROM ") :]
    return {word: rest for word, rest in re.findall(r"^([A-Z]+) +(.*)$", last_stage, flags=re.MULTILINE)}


def test_the_containers_command_serves_and_its_health_check_agrees(
    repository: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """ENTRYPOINT, CMD and HEALTHCHECK of the Dockerfile as plain processes, with another path and port."""
    found = instructions()
    command = [*json.loads(found["ENTRYPOINT"]), *json.loads(found["CMD"])]
    assert command[0] == "cvserve"
    assert command[-1] == "/models"
    probe = json.loads(found["HEALTHCHECK"].partition(" CMD ")[2])
    own = {**environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"}

    def health(address: str) -> int:
        words = [address if word == "localhost:8500" else word for word in probe]
        return subprocess.run(words, env=own, timeout=60, capture_output=True).returncode

    assert health(f"localhost:{free_port()}") != 0
    with serving([*command[:-1], str(repository), "--port", "0"], tmp_path / "log.txt", own) as (process, address):
        assert health(address) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, (tmp_path / "log.txt").read_text()
