"""Requests classes and prints one line for each class."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cvserve import console
from cvserve.cli.infer_task import InferTask

if TYPE_CHECKING:
    from cvserve.client import Client


def _ask(client: Client, arguments: argparse.Namespace, content: bytes, version: int) -> Any:
    return client.classify(
        arguments.model,
        content,
        top_k=arguments.top_k,
        version=version,
        score_threshold=arguments.score_threshold,
        max_results=arguments.max_results,
    )


def _print(row: dict[str, Any]) -> None:
    console.say(row["image"])
    for item in row["classes"]:
        console.say(f"  {item['score']:7.2%}  {item['label']}")


INFER = InferTask(_ask, _print)
