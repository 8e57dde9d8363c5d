"""Requests captions and prints one line for each sentence."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from cvserve import console
from cvserve.cli.infer_task import InferTask

if TYPE_CHECKING:
    from cvserve.client import Client


def _ask(client: Client, arguments: argparse.Namespace, content: bytes, version: int) -> Any:
    return client.caption(arguments.model, content, version=version, max_results=arguments.max_results)


def _print(row: dict[str, Any]) -> None:
    console.say(row["image"])
    for item in row["captions"]:
        console.say(f"  {math.exp(item['log_probability']):7.2%}  {item['text']}")


INFER = InferTask(_ask, _print)
