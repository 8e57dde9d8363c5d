"""Writes the rows of `cvserve predict`: JSON lines, CSV or COCO results, new or continued."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cvserve.batch.coco_numbers import CocoNumbers, OwnNumbers
from cvserve.batch.sinks.base import Row, Sink
from cvserve.batch.sinks.coco import CocoSink
from cvserve.batch.sinks.csv_rows import CsvSink
from cvserve.batch.sinks.json_lines import JsonLinesSink
from cvserve.batch.sinks.rules import SINK_RULES
from cvserve.batch.sinks.target import Target
from cvserve.errors import InvalidInput

__all__ = ["FORMATS", "SINK_RULES", "CocoSink", "CsvSink", "JsonLinesSink", "Row", "Sink", "open_sink"]

FORMATS = ("jsonl", "csv", "coco")


def open_sink(
    out: str | Path,
    *,
    format: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    task: str = "classification",
    labels: Sequence[str] = (),
    top_k: int | None = None,
    made_by: tuple[str, int] | None = None,
    numbers: CocoNumbers | None = None,
) -> Sink:
    """Returns the sink for `out`.

    Args:
        out: a file, or "-" for stdout.
        format: "jsonl", "csv" or "coco" (COCO's results, for tasks that have them). By default the suffix decides: .csv
            is CSV, .json is COCO's results if the task has them, and any other is JSON lines.
        resume: continue an unfinished (or finished) file: a last incomplete line is dropped, and images that the file
            has are skipped. Not possible with COCO's results.
        overwrite: replace an unfinished file.
        task, labels: the task and labels of the model.
        top_k: the number of classes of a row (classification), which must be the same in a continued file; None: any
            number in JSON lines, room for 5 in CSV.
        made_by: the model and version of the rows, which must be the same in a continued file; None: any.
        numbers: the numbers of images and categories in COCO's results; None: see `OwnNumbers`.

    Raises:
        InvalidInput: an unknown format, or one that does not fit the task; an unfinished file and neither resume nor
            overwrite; a file that is not of this format, or has rows of another model, version or top_k (both when
            the sink is entered); resume with stdout or COCO's results.
    """
    rules = SINK_RULES[task]
    if format is None:
        format = {".csv": "csv", ".json": "coco" if rules.coco else "jsonl"}.get(_suffix(out), "jsonl")
    if format not in FORMATS:
        raise InvalidInput(f"{format!r} is not a format of results; it is {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if resume and overwrite:
        raise InvalidInput("resume and overwrite contradict each other; give one of them")
    if numbers is not None and format != "coco":
        raise InvalidInput(f"numbers of COCO are only in COCO results, not in {format}; choose the format coco")
    if format == "coco":
        if rules.coco is None:
            having = [name for name in SINK_RULES.names() if SINK_RULES[name].coco]
            raise InvalidInput(f"COCO results are of {' and '.join(having)} models, not of {task}; write jsonl or csv")
        if resume:
            raise InvalidInput(
                "COCO results cannot be continued, for they do not tell which images had no objects or failed; "
                "write JSON lines to use --resume"
            )
        return rules.coco(Target(out, overwrite=overwrite, resumable=False), numbers or OwnNumbers(labels))
    if format == "csv" and rules.table is None:
        raise InvalidInput(f"CSV has no columns for {task}; write JSON lines")
    target = Target(out, resume=resume, overwrite=overwrite)
    if format == "csv" and rules.table is not None:
        return CsvSink(target, rules.table(top_k or 5), made_by)
    return JsonLinesSink(target, made_by, top_k=top_k if rules.top_k else None)


def _suffix(out: str | Path) -> str:
    return Path(out).suffix.lower()
