"""The argument parser and the options that several commands share. This module imports no large library."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, get_args

from cvserve import console

MASK_FORMATS = ("png", "rle", "polygons", "none")
"""The same as in `cvserve.postproc`, whose import takes too long for a help text."""


class Parser(argparse.ArgumentParser):
    """Parses arguments without abbreviations; an error is one sentence that names the most similar option."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses the arguments; options may stand between positional arguments."""
        known, rest = self.parse_known_intermixed_args(args, namespace)
        unknown = [word for word in rest if word.startswith("-")]
        if unknown:
            option = unknown[0].partition("=")[0]
            self.error(f"there is no option {option}{did_you_mean(option, self._option_string_actions)}")
        if rest:
            self.error(f"{rest[0]!r} is one argument too many")
        return known

    def error(self, message: str) -> NoReturn:
        """Prints the usage and the message, and exits with code 2."""
        console.note(self.format_usage().rstrip())
        console.error(message)
        console.note(f"{self.prog} --help explains it")
        raise SystemExit(2)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns a hint with the known word that is most like `word`; "" where none is.

    Example:
        >>> did_you_mean("trian", ["train", "serve"])
        '; did you mean train?'
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def example(parser: argparse.ArgumentParser, *lines: str) -> None:
    """Adds examples below the help text."""
    parser.epilog = "\n".join(["examples:" if len(lines) > 1 else "example:", *(f"  {line}" for line in lines)])


def add_runtime(parser: argparse.ArgumentParser, default: str | None = "auto") -> argparse._ArgumentGroup:
    """Adds --runtime, --precision and --threads.

    Args:
        default: the default of --runtime; None for a command that also reads a settings file.

    Returns:
        The group of these options, for others to be added.
    """
    from cvserve.artifact.graphs import Precision
    from cvserve.runtimes import RUNTIMES

    group = parser.add_argument_group("how the graph runs")
    group.add_argument(
        "--runtime",
        choices=("auto", *RUNTIMES),
        default=default,
        help="auto (the default) takes the fastest graph on this machine that passed its parity check",
    )
    group.add_argument("--precision", choices=get_args(Precision), help="only graphs of this precision")
    group.add_argument("--threads", type=positive, metavar="N", help="CPU threads of a graph; default: all cores")
    return group


def add_device(group: argparse._ArgumentGroup) -> None:
    """Adds --device."""
    group.add_argument(
        "--device",
        default="cpu",
        metavar="DEVICE",
        help="cpu (the default), gpu:0, ...; docs/gpu.md describes GPUs",
    )


def file_and_set(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the server's settings of --config, overridden by those of --set.

    Raises:
        NotFound: there is no such file. InvalidInput: a setting in the file, which is named, or in --set does not fit.
    """
    from cvserve.errors import InvalidInput
    from cvserve.serving import load_settings
    from cvserve.settings import read_yaml, with_overrides

    file = arguments.config
    values = with_overrides({} if file is None else read_yaml(file), arguments.set)
    try:
        load_settings(values)
    except InvalidInput:
        if file is not None:
            load_settings(file)  # names the file in the error, if the fault is there
        raise
    return values


def positive(text: str) -> int:
    """Reads a whole number of at least 1."""
    return _number(text, 1)


def not_negative(text: str) -> int:
    """Reads a whole number of at least 0."""
    return _number(text, 0)


def fraction(text: str) -> float:
    """Reads a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _number(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return value


def names(known: Sequence[str]) -> Any:
    """Returns an argparse type for comma-separated names, each one of `known`; it gives a tuple.

    Example:
        >>> names(("onnx", "tflite"))("tflite, onnx")
        ('tflite', 'onnx')
    """

    def parse(text: str) -> tuple[str, ...]:
        parts = tuple(part.strip() for part in text.split(",") if part.strip())
        for part in parts:
            if part not in known:
                raise argparse.ArgumentTypeError(f"{part!r} is not one of {', '.join(known)}")
        if not parts:
            raise argparse.ArgumentTypeError(f"none is given of {', '.join(known)}")
        return parts

    return parse
