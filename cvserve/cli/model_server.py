"""Replaces tensorflow_model_server: it has the same flags, config files and protocols, so a script needs to change one
word only. Wrong flags are refused with the same texts; flags that change nothing here are listed in one line.

In addition SIGTERM drains, images are decoded (cvserve.v1.VisionService) for models that cvserve exported, and health
and reflection are always on. `cvserve serve` has the settings that TensorFlow Serving does not have.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from cvserve.cli.arguments import example
from cvserve.serving.protocols.tensorflow_serving.model_server.flags import Flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of tensorflow_model_server."""
    parser.usage = "cvserve model-server [--FLAG=VALUE ...]"
    used = parser.add_argument_group("flags")
    unused = parser.add_argument_group("flags that are accepted and change nothing")
    for each in fields(Flags):
        group = used if each.metadata["effect"] else unused
        default = each.default
        text = each.metadata["text"]
        if isinstance(default, bool):
            group.add_argument(
                f"--{each.name}",
                nargs="?",
                const=True,
                default=default,
                type=_boolean,
                metavar="true|false",
                help=f"{text}; default: {str(default).lower()}".replace("%", "%%"),
            )
        else:
            kind = type(default)
            shown = f"; default: {default}" if default or (each.metadata["effect"] and kind is not str) else ""
            group.add_argument(
                f"--{each.name}",
                default=default,
                type=kind if kind is str else _number(kind),
                metavar={int: "N", float: "X", str: "TEXT"}[kind],
                help=f"{text}{shown}".replace("%", "%%"),
            )
    example(
        parser,
        "cvserve model-server --port=8500 --rest_api_port=8501 --model_name=flowers --model_base_path=/models/flowers",
        "cvserve model-server --model_config_file=/models/models.config --model_config_file_poll_wait_seconds=60",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serves until a signal ends it, or prints the version."""
    flags = Flags(**{each.name: getattr(arguments, each.name) for each in fields(Flags)})
    from cvserve.serving.model_server import model_server, version_lines

    if flags.version:
        from cvserve import console

        for line in version_lines():
            console.say(line)
        return 0
    model_server(flags)
    return 0


def _boolean(text: str) -> bool:
    # As tensorflow_model_server, this refuses other spellings such as `--enable_batching=1`.
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"couldn't interpret value {text!r}; give true or false")
    return text == "true"


def _number(kind: Any) -> Any:
    def parse(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            what = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"couldn't interpret value {text!r}; give a {what}") from None

    return parse
