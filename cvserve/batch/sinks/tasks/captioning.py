"""Writes captions: JSON lines, CSV with one line for each caption, and COCO's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cvserve.batch.sinks.base import Row
from cvserve.batch.sinks.coco import CocoSink
from cvserve.batch.sinks.rules import SinkRules
from cvserve.batch.sinks.tables import COMMON, Table, check_columns
from cvserve.errors import InvalidInput


class CaptionTable(Table):
    """Writes one line for each caption, best first; an image with an error has one line without a caption.

    captions: the number of captions of the image, which is its number of lines.
    """

    columns = (*COMMON, "captions", "caption", "log_probability")

    def lines(self, row: Row) -> list[list[Any]]:
        """Returns the lines of an image."""
        check_columns(row, "captions")
        captions = row.get("captions", [])
        known = [row.get(name, "") for name in COMMON]
        if not captions:
            return [[*known, "" if "error" in row else 0, "", ""]]
        return [[*known, len(captions), item["text"], item["log_probability"]] for item in captions]

    def count(self, cells: Sequence[str]) -> int:
        """Returns the number of lines of the image to which this line belongs."""
        return max(int(cells[self.columns.index("captions")] or 0), 1)


class CocoCaptionsSink(CocoSink):
    """Writes {"image_id", "caption", "file_name"} with the best caption of each image.

    pycocotools and pycocoevalcap load it as it is, and ignore "file_name".
    """

    def entries(self, row: Row) -> list[dict[str, Any]]:
        """Returns the entries of an image."""
        if "captions" not in row:
            raise InvalidInput(f"captions are of captioning models, not of {row.get('task')}; write JSON lines")
        number, name = self._numbers.image_id(row["image"]), row["image"]
        return [{"image_id": number, "caption": row["captions"][0]["text"], "file_name": name}]


RULES = SinkRules(table=lambda _: CaptionTable(), coco=CocoCaptionsSink)
