"""A server measures for `auto` in another process, so that TensorFlow does not stay in its memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cvserve.artifact import Artifact
from cvserve.runtimes import choose, choose_apart, open_runtime

LOAD = """
import json, subprocess, sys
from pathlib import Path
from cvserve.runtimes import choose
from cvserve.serving.core import loading
from cvserve.serving.core.settings import ModelSettings

started = []
real = subprocess.Popen.__init__
def spy(self, command, *arguments, **options):
    started.append(command)
    real(self, command, *arguments, **options)
subprocess.Popen.__init__ = spy
out = []
for _ in range(2):
    model = loading.load(Path(sys.argv[1]), ModelSettings(instances=1, threads=1, max_batch_size=1))
    out.append([model.describe().partition(",")[0], "tensorflow" in sys.modules, len(started)])
    model.close()
print(json.dumps(out))
"""


def test_a_server_takes_the_fastest_graph_and_loads_no_other_library(
    artifact_of_two: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVSERVE_CACHE_DIR", str(tmp_path / "cache"))
    command = [sys.executable, "-c", LOAD, str(artifact_of_two.directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout.splitlines()[-1])
    (memory,) = (tmp_path / "cache").rglob("*.json")
    content = json.loads(memory.read_text())
    assert set(content["milliseconds"]) == {"saved_model.pb", "model.onnx"}, "both were measured"
    chosen = {"saved_model.pb": "tensorflow", "model.onnx": "onnx"}[content["graph"]]
    assert first == [chosen, chosen == "tensorflow", 1]
    assert second == first, "the second load starts no process"


def _is_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)


def test_no_process_starts_where_it_has_no_advantage(
    artifact: Artifact, artifact_of_two: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVSERVE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(choose_apart, "_ask", lambda asked: pytest.fail("a process starts"))
    assert "tensorflow" in sys.modules, "of the fixture"
    assert choose_apart.choose_apart(artifact_of_two) is None, "TensorFlow is loaded anyway"
    monkeypatch.setattr(choose, "BUDGET_SECONDS", 0.05)
    open_runtime(artifact_of_two).close()
    _is_apart(monkeypatch)
    assert choose_apart.choose_apart(artifact_of_two) is None, "it is known"
    assert choose_apart.choose_apart(artifact) is None, "no SavedModel"


def test_after_a_failed_process_the_caller_measures(
    artifact_of_two: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CVSERVE_CACHE_DIR", str(tmp_path / "cache"))
    _is_apart(monkeypatch)
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho 'auto skips model.onnx: no' >&2\necho 'Killed' >&2\nexit 3\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    with caplog.at_level("INFO"):
        assert choose_apart.choose_apart(artifact_of_two) is None
    assert "auto skips model.onnx: no" in caplog.text
    assert "the process that measures for auto ended with 3: Killed" in caplog.text


def test_a_process_that_takes_too_long_is_ended(
    artifact_of_two: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVSERVE_CACHE_DIR", str(tmp_path / "cache"))
    _is_apart(monkeypatch)
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    monkeypatch.setattr(choose_apart, "TIME_LIMIT_SECONDS", 0.2)
    # It returns: otherwise the process would have run for longer than a test may take.
    assert choose_apart.choose_apart(artifact_of_two) is None


def test_where_no_process_can_be_started_this_one_measures(
    artifact_of_two: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CVSERVE_CACHE_DIR", str(tmp_path / "cache"))
    _is_apart(monkeypatch)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    assert choose_apart.choose_apart(artifact_of_two) is None
    assert "no other one can be started" in caplog.text


def test_the_process_ends_with_its_parent(artifact_of_two: Artifact) -> None:
    asked = {"directory": str(artifact_of_two.directory), "threads": None, "precision": None, "device": "cpu"}
    command = [sys.executable, "-m", "cvserve.runtimes.choose_apart", json.dumps(asked | {"resources": None})]
    # Its standard input ends at once, as when the server has died.
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
