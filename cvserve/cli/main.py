"""The `cvserve` command: runs a sub-command, and reports an error with one sentence and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType

from cvserve import __version__, console
from cvserve.cli.arguments import Parser, did_you_mean
from cvserve.errors import CvserveError

DONE = 0
SOME_FAILED = 1
WRONG_USAGE = 2
OUR_FAULT = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, as in shells
PIPE_CLOSED = 141  # 128 + SIGPIPE

COMMANDS = {
    "models": ("models", "list the networks that can be trained"),
    "train": ("train", "train a model on a data set"),
    "evaluate": ("evaluate", "score a run or an exported model on a data set"),
    "export": ("export", "export a run as SavedModel, ONNX and TFLite with equal results"),
    "import": ("import_model", "make an artifact from a model of another tool"),
    "inspect": ("inspect", "show the contents of a model, a version or a repository"),
    "serve": ("serve", "serve a repository of models over gRPC and HTTP"),
    "model-server": ("model_server", "serve with the flags and files of tensorflow_model_server"),
    "infer": ("infer", "send images to a server"),
    "predict": ("predict", "run a model on folders of images"),
    "bench": ("bench", "measure a model in process and served, on this machine"),
    "tune": ("tune", "find the settings with the highest rate within a latency limit"),
    "demo": ("demo", "train, export and serve on generated images"),
}
"""The module in cvserve.cli and the line of help of each command. A module has `add_arguments(parser)` and `run`."""

_DESCRIPTION = "Production vision with Keras: from training to server and phone, with the same answer everywhere."
_EPILOG = """\
cvserve COMMAND --help explains a command, with an example.

exit codes: 0 done; 1 some inputs failed (they are listed); 2 wrong usage, or nothing could be done
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        arguments: the words after "cvserve"; None takes those of the process.

    Returns:
        The exit code.

    Raises:
        SystemExit: for --help, --version and wrong options, as argparse does.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _silence_libraries()
    try:
        if not words or words[0].startswith("-"):
            return _top_level(words)
        code = _run(words[0], words[1:])
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where the error of a closed pipe is still caught
        return code
    except CvserveError as error:
        console.error(str(error))
        return WRONG_USAGE
    except KeyboardInterrupt:
        console.note("cvserve: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the pipe (head, less) has ended. Python would report the same error again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return PIPE_CLOSED
    except OSError as error:
        if error.strerror is None:
            return _report(error)
        console.error(f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror)
        return WRONG_USAGE
    except Exception as error:  # noqa: BLE001  every other error is a fault of cvserve, and is printed with its traceback
        return _report(error)


def _report(error: Exception) -> int:
    console.note("".join(traceback.format_exception(error)).rstrip())
    console.note("cvserve: this is a fault of cvserve; please report it with the lines above and the command")
    return OUR_FAULT


def _top_level(words: list[str]) -> int:
    width = max(map(len, COMMANDS)) + 2
    commands = "\n".join(f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items())
    parser = Parser(prog="cvserve", usage="cvserve COMMAND ...", description=_DESCRIPTION)
    parser.epilog = f"commands:\n{commands}\n\n{_EPILOG}"
    parser.add_argument("--version", action="version", version=f"cvserve {__version__}")
    parser.parse_args(words)
    parser.print_help(sys.stderr)
    return WRONG_USAGE


def _run(name: str, words: list[str]) -> int:
    if name not in COMMANDS:
        raise CvserveError(f"there is no command {name!r}{did_you_mean(name, COMMANDS)}; cvserve --help lists them")
    module_name, text = COMMANDS[name]
    module = _load(module_name)
    parser = Parser(prog=f"cvserve {name}", description=module.__doc__ or text)
    module.add_arguments(parser)
    code = module.run(parser.parse_args(words))
    return int(code)


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"cvserve.cli.{name}")


def _silence_libraries() -> None:
    """Sets environment variables that silence the libraries, before any is imported. Existing values stay."""
    for name, value in {
        "TF_CPP_MIN_LOG_LEVEL": "2",  # no "oneDNN custom operations", no "cuda drivers not found" from TensorFlow
        "GRPC_VERBOSITY": "ERROR",  # no messages about fork and GOAWAY
        "KERAS_BACKEND": "tensorflow",  # overrides ~/.keras/keras.json
    }.items():
        os.environ.setdefault(name, value)
