"""The argument parser and the options that several commands share. Nothing here may import a heavy library."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, get_args

from cvserve import console

MASK_FORMATS = ("png", "rle", "polygons", "none")
"""Those of `cvserve.postproc`, which loads too much for a help text."""


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, with its faults as one sentence that names the nearest option."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        # Intermixed: options may stand between words that are there once, or not at all, or often.
        known, rest = self.parse_known_intermixed_args(args, namespace)
        unknown = [word for word in rest if word.startswith("-")]
        if unknown:
            option = unknown[0].partition("=")[0]
            self.error(f"there is no option {option}{did_you_mean(option, self._option_string_actions)}")
        if rest:
            self.error(f"{rest[0]!r} is one argument too many")
        return known

    def error(self, message: str) -> NoReturn:
        """Ends with exit code 2, the usage and the sentence."""
        console.note(self.format_usage().rstrip())
        console.error(message)
        console.note(f"{self.prog} --help explains it")
        raise SystemExit(2)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean train?` where a known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def example(parser: argparse.ArgumentParser, *lines: str) -> None:
    """Puts examples under the help text."""
    parser.epilog = "\n".join(["examples:" if len(lines) > 1 else "example:", *(f"  {line}" for line in lines)])


def add_runtime(parser: argparse.ArgumentParser, default: str | None = "auto") -> argparse._ArgumentGroup:
    """--runtime, --precision and --threads; a command that also reads a settings file takes None as the default."""
    from cvserve.artifact.graphs import Precision
    from cvserve.runtimes import RUNTIMES

    group = parser.add_argument_group("how the graph runs")
    group.add_argument(
        "--runtime",
        choices=("auto", *RUNTIMES),
        default=default,
        help="auto (the default) takes the fastest graph on this machine whose parity holds",
    )
    group.add_argument("--precision", choices=get_args(Precision), help="only graphs of this precision")
    group.add_argument(
        "--threads", type=positive, metavar="N", help="CPU threads of a graph; default: all that there are"
    )
    return group


def add_device(group: argparse._ArgumentGroup) -> None:
    """--device, of a command whose graphs run on one."""
    group.add_argument(
        "--device",
        default="cpu",
        metavar="DEVICE",
        help="cpu (the default), gpu:0, ...; docs/gpu.md says what a GPU needs",
    )


def file_and_set(arguments: argparse.Namespace) -> dict[str, Any]:
    """The server's settings that --config holds, with --set over them.

    Raises:
        NotFound: no such file. InvalidInput: something in the file, which is named, or in --set does not fit.
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
            load_settings(file)  # whose sentence names it, if the fault is its own
        raise
    return values


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _number(text, 1)


def not_negative(text: str) -> int:
    """A whole number of at least 0."""
    return _number(text, 0)


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return value


def _number(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
    return value


def names(known: Sequence[str]) -> Any:
    """A type for comma-separated names out of `known`, as a tuple."""

    def parse(text: str) -> tuple[str, ...]:
        parts = tuple(part.strip() for part in text.split(",") if part.strip())
        for part in parts:
            if part not in known:
                raise argparse.ArgumentTypeError(f"{part!r} is not one of {', '.join(known)}")
        if not parts:
            raise argparse.ArgumentTypeError(f"none is given of {', '.join(known)}")
        return parts

    return parse
