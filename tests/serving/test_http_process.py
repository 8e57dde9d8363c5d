"""`cvserve serve` on both ports: the lines that it prints, and SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_kit import PREDICT
from serving_kit import pixels, repository

pytest.importorskip("tensorflow_serving")
pytest.importorskip("aiohttp")

TESTS = Path(__file__).resolve().parents[1]
BODY = json.dumps({"instances": np.stack([pixels("blue")]).tolist()}).encode()

# The command, with a graph that takes a second and a half.
SLOW = """
import sys, time
from serving_kit import PuppetRuntime, loader
import cvserve.serving.server as server
from cvserve.cli.main import main

class Slow(PuppetRuntime):
    def run(self, inputs, outputs=None):
        time.sleep(1.5)
        return super().run(inputs, outputs)

server.Server.__init__.__kwdefaults__["load_model"] = loader(Slow())
sys.exit(main(["serve", sys.argv[1], "--host", "127.0.0.1", "--port", "0", "--http-port", "0"]))
"""


def post(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"{url}{PREDICT}", BODY, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.slow
def test_sigterm_finishes_http_requests_too(tmp_path: Path) -> None:
    root = repository(tmp_path / "models")
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", SLOW, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line.strip())
                if line.startswith("ready: gRPC on "):
                    break
            assert lines[-2].startswith("HTTP on http://127.0.0.1:"), lines
            url = lines[-2].split()[-1]
            answers: list[tuple[int, Any]] = []
            asking = threading.Thread(target=lambda: answers.append(post(url)))
            asking.start()
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            assert post(url) == (503, {"error": "the server is shutting down"})
            asking.join()
            [(status, answer)] = answers
            assert status == 200
            assert int(np.argmax(answer["predictions"][0]["probabilities"])) == 2
            assert process.wait(10) == 0
            assert process.stdout.read().splitlines() == ["SIGTERM: draining", "stopped"]
        finally:
            process.kill()
