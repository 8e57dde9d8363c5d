"""Some thousand malformed messages; `benchmarks/fuzz_server.py` sends a hundred thousand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[4] / "benchmarks" / "fuzz_server.py"


@pytest.mark.slow
def test_no_message_of_a_client_causes_an_error_of_the_server(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_serving")
    out = tmp_path / "fuzz.json"
    command = [sys.executable, str(SCRIPT), "--messages", "3000", "--seed", "5", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert out.exists(), done.stderr[-2000:]
    found = json.loads(out.read_text())
    assert not found["faults"]
    assert found["http"]
    assert found["tracebacks_in_the_log"] == 0
    # Both requests reached the server's code.
    assert found["answers"]["gRPC INVALID_ARGUMENT"] > 100
    assert found["answers"]["HTTP 400"] > 20
    assert done.returncode == 0
