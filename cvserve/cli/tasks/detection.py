"""Requests objects and prints one line for each object."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cvserve import console
from cvserve.cli.infer_task import InferTask

if TYPE_CHECKING:
    from cvserve.client import Client


def _ask(client: Client, arguments: argparse.Namespace, content: bytes, version: int) -> Any:
    # Masks are requested only if they are printed or drawn. Other formats are made here, from run lengths.
    with_masks = arguments.annotate or (arguments.json and arguments.mask_format != "none")
    return client.detect(
        arguments.model,
        content,
        version=version,
        score_threshold=arguments.score_threshold,
        max_results=arguments.max_results,
        mask_format=None if with_masks else "none",
    )


def _row(result: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    row: dict[str, Any] = result.to_dict(arguments.mask_format or "rle")
    return row


def _print(row: dict[str, Any]) -> None:
    detections = row["detections"]
    objects = "1 object" if len(detections) == 1 else f"{len(detections)} objects"
    console.say(f"{row['image']} ({row['width']} x {row['height']}): {objects}")
    widest = max((len(item["label"]) for item in detections), default=0)
    for item in detections:
        corners = "".join(f"{value:8.1f}" for value in item["box"])
        console.say(f"  {item['score']:7.2%}  {item['label']:<{widest}}{corners}")


INFER = InferTask(_ask, _print, _row, takes_masks=lambda info: info.has_masks)
