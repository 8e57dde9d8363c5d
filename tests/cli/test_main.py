"""The command line in general: help, misspelt words, exit codes, and the messages of errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from cvserve import __version__
from cvserve.cli import main as frame
from cvserve.cli.main import COMMANDS, main
from cvserve.errors import NotFound


def exit_of(words: list[str]) -> int:
    """Returns the exit code, as the shell would."""
    try:
        return main(words)
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: cvserve {name}" in text
    assert "example" in text
    assert f"  cvserve {name} " in text


def test_the_help_of_train_names_all_tasks_and_where_the_networks_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(["train", "--help"]) == 0
    text = capsys.readouterr().out
    for task in ("captioning", "classification", "detection", "segmentation"):
        assert task in text
    assert "cvserve models" in text


def test_the_help_lists_all_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(["--help"]) == 0
    text = capsys.readouterr().out
    for name, (_, summary) in COMMANDS.items():
        assert name in text
        assert summary in text
    assert "0 done; 1 some inputs failed" in text
    assert exit_of([]) == 2
    assert "predict" in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(["--version"]) == 0
    assert capsys.readouterr().out == f"cvserve {__version__}\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trian"], "there is no command 'trian'; did you mean train?"),
        (["xyzzy"], "there is no command 'xyzzy'; cvserve --help lists them"),
        (["--verison"], "there is no option --verison; did you mean --version?"),
        (["predict", "m", "p", "--annotat", "x"], "there is no option --annotat; did you mean --annotate?"),
        (["predict", "m", "p", "--batchsize=4"], "there is no option --batchsize; did you mean --batch-size?"),
        (["predict"], "the following arguments are required: MODEL, IMAGES"),
        (["predict", "m", "p", "--batch-size", "0"], "argument --batch-size: '0' is not a whole number of at least 1"),
        (["predict", "m", "p", "--top-k", "many"], "argument --top-k: 'many' is not a whole number of at least 1"),
        (["predict", "m", "p", "--runtime", "torch"], "argument --runtime: invalid choice: 'torch'"),
        (["inspect", "models", "more"], "'more' is one argument too many"),
        (["infer", "localhost:1", "flowers"], "give an image too"),
        (["inspect", "/nowhere"], "no model at /nowhere"),
        (["train", "--out", "x", "--epochs", "3"], "the training settings: 'data' is missing"),
        (["train", "--out", "x", "--data", "d", "--set", "epoch=3"], "unknown key 'epoch'; did you mean 'epochs'?"),
        (["train", "--out", "x", "--config", "none.yaml"], "no settings file at none.yaml"),
        (["serve", "/nowhere", "--port", "99999"], "port = 99999 cannot be used"),
        (["serve", "/nowhere", "--set", "graph_niec=0"], "unknown key 'graph_niec'; did you mean 'graph_nice'?"),
        (["serve", "/nowhere", "--set", "port=" + "[" * 5000], "is not a YAML value"),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "cvserve: error: " in captured.err
    assert sentence in captured.err
    assert "Traceback" not in captured.err


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException | int], int]:
    """Runs an invented command that raises or returns the given value."""

    def run(outcome: BaseException | int) -> int:
        module = ModuleType("cvserve.cli.made_up")

        def work(arguments: object) -> int:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        module.add_arguments = lambda parser: None  # type: ignore[attr-defined]
        module.run = work  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(frame.COMMANDS, "made-up", ("made_up", "for this test"))
        return main(["made-up"])

    return run


@pytest.mark.parametrize(
    ("outcome", "code", "text"),
    [
        (0, 0, ""),
        (1, 1, ""),
        (NotFound("no model at x"), 2, "cvserve: error: no model at x\n"),
        (KeyboardInterrupt(), 130, "cvserve: interrupted\n"),
        (PermissionError(13, "Permission denied", "/out"), 2, "cvserve: error: /out: Permission denied\n"),
        (OSError(28, "No space left on device"), 2, "cvserve: error: No space left on device\n"),
    ],
)
def test_exit_codes(
    command: Callable[[BaseException | int], int],
    outcome: BaseException | int,
    code: int,
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(outcome) == code
    assert capsys.readouterr().err == text


def test_an_error_of_cvserve_prints_its_traceback_and_asks_for_a_report(
    command: Callable[[BaseException | int], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(ZeroDivisionError("division by zero")) == 70
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "ZeroDivisionError: division by zero" in text
    assert "this is a fault of cvserve; please report it" in text


def test_a_closed_pipe_is_quiet() -> None:
    """`cvserve ... | head -1`: nothing on stderr, however much is written after the reader has ended."""
    code = """
import sys
from types import ModuleType
from cvserve import console
from cvserve.cli import main as frame
module = ModuleType("cvserve.cli.made_up")
module.add_arguments = lambda parser: None
module.run = lambda arguments: [console.say("line " * 50) for _ in range(5000)] and 0
sys.modules[module.__name__] = module
frame.COMMANDS["made-up"] = ("made_up", "")
sys.exit(frame.main(["made-up"]))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 141
