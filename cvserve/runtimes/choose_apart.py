"""Measures for `auto` in another process, so that a server need not keep TensorFlow in memory after measuring it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import Any

from cvserve import artifact as artifacts
from cvserve.artifact import Artifact, Graph
from cvserve.runtimes import choose
from cvserve.runtimes.device import Resources
from cvserve.runtimes.opening import candidates

_LOG = logging.getLogger(__name__)

TIME_LIMIT_SECONDS = 600.0
"""Seconds after which the process is killed; measuring takes about ten seconds."""


def choose_apart(
    artifact: Artifact,
    *,
    threads: int | None = None,
    precision: str | None = None,
    device: str = "cpu",
    resources: Resources | None = None,
) -> Graph | None:
    """Measures in another process which graph is the fastest.

    Args:
        artifact, threads, precision, device, resources: as in `open_runtime`.

    Returns:
        The graph; None where another process has no advantage (TensorFlow is no candidate, or loaded already, or the
        answer is remembered), and where it failed. `open_runtime` then chooses.

    Raises:
        NotFound, FailedPrecondition: as `open_runtime`.
    """
    graphs = candidates(artifact, "auto", precision, device)
    if "tensorflow" in sys.modules or len(graphs) < 2 or all(graph.format != "saved_model" for graph in graphs):
        return None
    if choose.is_known(graphs, threads, device):
        return None
    request = {
        "directory": str(artifact.directory),
        "threads": threads,
        "precision": precision,
        "device": device,
        "resources": None if resources is None else asdict(resources),
    }
    answer = _ask(json.dumps(request))
    return next((graph for graph in graphs if graph.path == answer), None)


def _ask(request: str) -> str | None:
    """Runs the process; returns its answer, the path of a graph, or None where it failed."""
    # Its standard input stays open as long as this process lives; when it closes, the other process ends itself.
    pipe = subprocess.PIPE
    command = [sys.executable or "python", "-m", "cvserve.runtimes.choose_apart", request]
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace")
    except OSError as error:
        _LOG.warning("auto measures in this process, since no other one can be started: %s", error)
        return None
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        timer = threading.Timer(TIME_LIMIT_SECONDS, process.kill)
        timer.start()
        try:
            errors = _Lines(process.stderr)
            answers = process.stdout.read().splitlines()
            lines = errors.all()
            process.wait()
        finally:
            timer.cancel()
            process.kill()
    for line in lines:
        if line.startswith("auto "):
            _LOG.warning("%s", line)
    if process.returncode or not answers:
        _LOG.info("the process that measures for auto ended with %d: %s", process.returncode, "".join(lines[-1:]))
        return None
    return answers[-1]


class _Lines:
    """Reads the lines of a stream in a thread, so that another stream can be read meanwhile."""

    def __init__(self, stream: Any) -> None:
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            self._lines.append(line.rstrip())

    def all(self) -> list[str]:
        """Returns all lines, once the stream has ended."""
        self._thread.join()
        return self._lines


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Measures the graphs that the only argument describes, and prints the path of the fastest one."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    request = json.loads(sys.argv[1])
    artifact = artifacts.read(request["directory"])
    graphs = candidates(artifact, "auto", request["precision"], request["device"])
    resources = None if request["resources"] is None else Resources(**request["resources"])
    graph, _ = choose.choose(
        artifact, graphs, threads=request["threads"], device=request["device"], resources=resources
    )
    print(graph.path, flush=True)
    # TensorFlow takes long to shut down.
    os._exit(0)


if __name__ == "__main__":
    main()
