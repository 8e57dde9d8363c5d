"""Known start-up messages are hidden; all other lines are kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cvserve.runtimes.quiet import without_startup_messages


def test_drops_only_the_known_lines(capfd: pytest.CaptureFixture[str]) -> None:
    with without_startup_messages():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
        os.write(2, b"I0000 00:00:1795228301.514674    6100 port.cc:153] oneDNN custom operations are on.\n")
        os.write(2, b"a warning worth reading\n")
        os.write(2, b"E0000 00:00:1795228301.514674    6100 loader.cc:3] the file is damaged\n")
    shown = capfd.readouterr().err
    assert shown.splitlines() == [
        "a warning worth reading",
        "E0000 00:00:1795228301.514674    6100 loader.cc:3] the file is damaged",
    ]


def test_keeps_what_was_written_before_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        with without_startup_messages():
            os.write(2, b"the last words\n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert capfd.readouterr().err == "the last words\n"


@pytest.mark.slow
def test_loading_a_graph_prints_nothing(tflite_file: Path, saved_model: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from cvserve.runtimes import open_graph\n"
        "for path, kind in ((sys.argv[1], 'tflite'), (sys.argv[2], 'saved_model')):\n"
        "    open_graph(Path(path), kind).run({'images': np.zeros((1, 6, 8, 3), np.uint8)})\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_CPP")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tflite_file), str(saved_model)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stderr == ""
