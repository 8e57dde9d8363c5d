"""What people and pipes see: lines, tables, progress."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
import threading

import pytest

from cvserve import console
from cvserve.console import Progress, format_table, progress


class Clock:
    """Counts the seconds that a test lets pass."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_results_go_to_stdout_and_the_rest_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("a result [red]")
    console.note("a remark")
    console.error("a fault")
    for _ in progress(range(3), description="counting"):
        pass
    captured = capsys.readouterr()
    assert captured.out == "a result [red]\n"
    assert captured.err.startswith("a remark\ncvserve: error: a fault\ncounting: 0/3\ncounting: 3/3")


def test_a_table_is_aligned_text_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.table([("[bold]rose", 7, None), ("ox-eye", 12, 0.123456)], ("class", "images", "f1"), title="scores")
    assert capsys.readouterr().out.splitlines() == [
        "scores",
        "class       images      f1",
        "----------  ------  ------",
        "[bold]rose       7       -",
        "ox-eye          12  0.1235",
    ]
    assert format_table([], ("a", "b")) == "a  b\n-  -"
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2 columns"):
        format_table([("x",)], ("a", "b"))


def test_the_lines_of_a_progress_are_few() -> None:
    """A first line, one when 5 s and a tenth have passed, one after a minute of slow work, and a last."""
    clock, stream = Clock(), io.StringIO()
    with Progress(100, "training", unit="images", stream=stream, clock=clock) as bar:
        clock.now += 4
        bar.advance(20, loss=0.5)  # too soon
        clock.now += 1
        bar.advance(0)
        clock.now += 30
        bar.advance(5)  # not a tenth
        clock.now += 30
        bar.advance(0)  # but a minute of silence
        clock.now += 5
        bar.advance(75, loss=0.25)
    assert stream.getvalue().splitlines() == [
        "training: 0/100 images",
        "training: 20/100 images, 4.0 images/s, loss 0.5",
        "training: 25/100 images, 0.4 images/s, loss 0.5",
        "training: 100/100 images, 1.4 images/s, loss 0.25",
        "training: 100/100 images, 70.0 s, 1.4 images/s, loss 0.25",
    ]


def test_a_progress_of_unknown_length() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(None, "reading", unit="files", stream=stream, clock=clock) as bar:
        for _ in range(4):
            clock.now += 2.5
            bar.advance()
    assert stream.getvalue().splitlines() == [
        "reading: 0 files",
        "reading: 2 files, 0.4 files/s",
        "reading: 4 files, 0.4 files/s",
        "reading: 4 files, 10.0 s, 0.4 files/s",
    ]


def test_what_was_done_before_does_not_count_for_the_rate() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(30, "going on", unit="images", stream=stream, clock=clock) as bar:
        bar.skip(20)
        clock.now += 5
        bar.advance(10)
        assert bar.rate == 2
    assert stream.getvalue().splitlines()[-1] == "going on: 30/30 images, 5.0 s, 2.0 images/s"


def test_nothing_to_do_prints_nothing() -> None:
    stream = io.StringIO()
    with Progress(0, "nothing", stream=stream):
        pass
    assert stream.getvalue() == ""


def test_an_iterable_is_passed_on_with_its_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress((item for item in "abc"), total=3, description="letters")) == ["a", "b", "c"]
    assert list(progress([1, 2])) == [1, 2]
    assert "letters: 3/3" in capsys.readouterr().err


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    with Progress(8, "epoch [1]", unit="images", stream=stream) as outer:
        with Progress(2, "step", stream=stream) as inner:  # bars may nest
            inner.advance(2)
        outer.advance(8, loss=0.75)
    text = stream.getvalue()
    assert "epoch [1]" in text
    assert "8/8" in text
    assert "loss 0.75" in text
    assert "\x1b[3" in text  # colours
    before = len(text)
    monkeypatch.setenv("NO_COLOR", "1")
    with Progress(8, "again", stream=stream) as bar:
        bar.advance(8)
    assert "8/8" in stream.getvalue()[before:]
    assert "\x1b[3" not in stream.getvalue()[before:]
    monkeypatch.setenv("TERM", "dumb")
    plain = Terminal()
    with Progress(8, "plain", stream=plain) as bar:
        bar.advance(8)
    assert plain.getvalue().splitlines()[0] == "plain: 0/8"


def test_counting_from_many_threads_loses_nothing() -> None:
    with Progress(4000, stream=io.StringIO()) as bar:
        threads = [threading.Thread(target=lambda: [bar.advance() for _ in range(1000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert bar.completed == 4000


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_work_continues_after_stderr_is_closed() -> None:
    with Progress(2, stream=Broken()) as bar:
        bar.advance(2)
    closed = io.StringIO()
    closed.close()
    with Progress(2, stream=closed) as bar:
        bar.advance(2)
    assert bar.completed == 2


_SCRIPT = """
from cvserve import console
for _ in console.progress(range(3), description="counting"): pass
console.note("a remark")
console.say("a result")
"""


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "2>/dev/null"])
def test_only_the_result_reaches_stdout_whatever_becomes_of_stderr(redirection: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"\"{sys.executable}\" -c '{_SCRIPT}' {redirection}"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "a result\n")


def test_a_file_name_that_is_not_utf8_is_printed_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8", errors="strict"))
    console.say(os.fsdecode(b"caf\xe9 \xc3\xa9.jpg"))
    assert raw.getvalue().decode() == "caf\\udce9 é.jpg\n"


def test_a_pipe_gets_the_results_alone_while_a_terminal_shows_the_bar() -> None:
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT], stdout=subprocess.PIPE, stderr=terminal, text=True, env=environment
    )
    os.close(terminal)
    seen = b""
    with contextlib.suppress(OSError):  # Linux says EIO at the end of a terminal
        while chunk := os.read(controller, 65536):
            seen += chunk
    os.close(controller)
    assert process.communicate(timeout=60)[0] == "a result\n"
    assert b"3/3" in seen
    assert b"\x1b[" in seen
