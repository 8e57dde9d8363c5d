"""Requests class maps and prints one line for each class."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cvserve import console
from cvserve.cli.infer_task import InferTask

if TYPE_CHECKING:
    from cvserve.client import Client, ModelInfo


def _ask(client: Client, arguments: argparse.Namespace, content: bytes, version: int) -> Any:
    # Masks are requested only if they are printed or drawn.
    mask_format = (arguments.mask_format or "png") if arguments.json else "none"
    if arguments.annotate and mask_format == "none":
        mask_format = "png"
    return client.segment_encoded(arguments.model, content, mask_format, version=version)


def _row(result: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.mask_format == "none":
        result = replace(result, mask_format="none", png=b"")
    row: dict[str, Any] = result.to_dict()
    return row


def _drawable(result: Any, info: ModelInfo) -> Any:
    return result.decode(info.colors)


def _print(row: dict[str, Any]) -> None:
    classes = row["segmentation"]["classes"]
    console.say(f"{row['image']} ({row['width']} x {row['height']})")
    widest = max((len(item["label"]) for item in classes), default=0)
    for item in classes:
        console.say(f"  {item['coverage']:7.2%}  {item['label']:<{widest}}  {item['confidence']:7.2%} sure")


INFER = InferTask(_ask, _print, _row, _drawable, takes_masks=lambda _: True)
