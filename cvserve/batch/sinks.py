"""Where the rows go: JSON lines or CSV, complete or continued, and never half a file under the final name.

Rows are written to `<name>.part`, which becomes `<name>` when all is done. So a file under its own name is whole, an
earlier one lives until the new one is, and what a killed run has done is there to be continued.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TextIO

from cvserve.batch.nameset import NameSet
from cvserve.errors import InvalidInput

Row = dict[str, Any]


class _Known(NamedTuple):
    """A row of a continued file.

    end: the offset behind it. name: the picture, None of a header. made_by: model and version, None of an error.
    """

    end: int
    name: str | None
    failed: bool
    made_by: tuple[str, str] | None


class Sink(Protocol):
    """Takes rows in order, as a context manager; leaving it without an exception completes the file.

    done_before, failed_before: how many rows of the continued file are results, and errors.
    """

    done_before: int
    failed_before: int

    def holds(self, name: str) -> bool:
        """Whether the file that is being continued has a row of this picture."""

    def write(self, row: Row) -> None: ...

    def flush(self) -> None: ...

    def __enter__(self) -> Sink: ...

    def __exit__(self, kind: object, error: object, trace: object) -> None: ...


def open_sink(
    out: str | Path,
    *,
    format: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    top_k: int = 5,
    made_by: tuple[str, int] | None = None,
) -> Sink:
    """The sink for `out`.

    Args:
        out: a file, or "-" for stdout.
        format: "jsonl" or "csv"; by default what the suffix says, JSON lines for any other.
        resume: continue an unfinished (or finished) file: its last half-written line is dropped, pictures that it
            has are skipped.
        overwrite: replace an unfinished file.
        top_k: how many classes a row of CSV has room for.
        made_by: model and version of the rows to come, which those of a continued file must share; None: any.

    Raises:
        InvalidInput: an unknown format; an unfinished file and neither resume nor overwrite; a file that is not of
            this format, or has rows of another model or version (both when the sink is entered); resume with stdout.
    """
    if format is None:
        format = "csv" if str(out).lower().endswith(".csv") else "jsonl"
    if format not in ("jsonl", "csv"):
        raise InvalidInput(f"{format!r} is no format of results; it is jsonl or csv")
    if resume and overwrite:
        raise InvalidInput("resume and overwrite contradict each other; give one of them")
    target = _Target(out, resume=resume, overwrite=overwrite)
    return CsvSink(target, top_k, made_by) if format == "csv" else JsonLinesSink(target, made_by)


class _Target:
    """The file behind a sink, and its `.part`."""

    def __init__(self, out: str | Path, *, resume: bool, overwrite: bool) -> None:
        self.resume = resume
        self.stdout = str(out) == "-"
        self._stdout_before: tuple[str, str | None] | None = None
        self._copied = False
        self.final = Path(out)
        # A pipe or a device such as /dev/null can be neither renamed nor continued.
        self.direct = self.stdout or (self.final.exists() and not self.final.is_file())
        self.part = self.final.with_name(self.final.name + ".part")
        if self.direct:
            if resume:
                raise InvalidInput(f"{out} cannot be continued; only a file can")
            if self.final.is_dir() and not self.stdout:
                raise InvalidInput(f"{out} is a folder; give a file, such as {self.final / 'results.jsonl'}")
        elif self.part.exists() and not resume and not overwrite:
            raise InvalidInput(
                f"{self.part} holds the rows of an unfinished run: continue it with --resume, "
                "or drop it with --overwrite"
            )

    def open(self, *, errors: str, newline: str | None) -> TextIO:
        if self.stdout:
            if isinstance(sys.stdout, io.TextIOWrapper):  # it is the same format there as in a file
                self._stdout_before = sys.stdout.encoding, sys.stdout.errors
                sys.stdout.reconfigure(encoding="utf-8", errors=errors)
            return sys.stdout
        if self.direct:
            return self.final.open("w", encoding="utf-8", errors=errors, newline=newline)
        self.part.parent.mkdir(parents=True, exist_ok=True)
        return self.part.open("a" if self.resume else "w", encoding="utf-8", errors=errors, newline=newline)

    def continued(self) -> BinaryIO | None:
        """The file to go on with, to be read and cut; None where there is none."""
        if not self.resume:
            return None
        if not self.part.exists():
            if not self.final.exists():
                return None
            shutil.copyfile(self.final, self.part)
            self._copied = True
        return self.part.open("r+b")

    def refuse(self) -> None:
        """The file cannot be continued: a finished one is left as if nobody had tried."""
        if self._copied:
            self.part.unlink()

    def close(self, stream: TextIO, *, complete: bool) -> None:
        stream.flush()
        if self.stdout:
            if self._stdout_before is not None and isinstance(stream, io.TextIOWrapper):
                encoding, errors = self._stdout_before
                stream.reconfigure(encoding=encoding, errors=errors)
            return
        if complete and not self.direct:
            os.fsync(stream.fileno())
        stream.close()
        if complete and not self.direct:
            self.part.replace(self.final)


class _FileSink:
    """What the formats share. `_errors`: how names that are no text (bytes outside UTF-8) are written."""

    _errors: str
    _newline: str | None = None

    def __init__(self, target: _Target, made_by: tuple[str, int] | None = None) -> None:
        self.done_before = 0
        self.failed_before = 0
        self._target = target
        self._made_by = None if made_by is None else (made_by[0], str(made_by[1]))
        self._known = NameSet()
        self._stream: TextIO | None = None

    def __enter__(self) -> Any:
        if (file := self._target.continued()) is not None:
            with file:
                try:
                    self._continue(file)
                except InvalidInput:
                    self._target.refuse()
                    raise
        self._stream = self._target.open(errors=self._errors, newline=self._newline)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            self._target.close(stream, complete=kind is None)

    def _continue(self, file: BinaryIO) -> None:
        """Takes in the rows that are there, and cuts off what is behind the last whole one."""
        end = 0
        for row in self._rows(file):
            end = row.end
            if row.name is None:
                continue
            if row.made_by is not None and self._made_by not in (None, row.made_by):
                raise self._other_model(row.made_by)
            self._known.add(row.name)
            self.done_before += not row.failed
            self.failed_before += row.failed
        file.truncate(end)
        self._known.freeze()

    def _other_model(self, found: tuple[str, str]) -> InvalidInput:
        assert self._made_by is not None
        (name, version), (before, version_before) = self._made_by, found
        return InvalidInput(
            f"{self._target.final} has rows of {before} version {version_before}, which {name} version {version} "
            "cannot continue: name the same model (and --version), or another --out"
        )

    def holds(self, name: str) -> bool:
        return name in self._known

    def flush(self) -> None:
        self._open.flush()

    @property
    def _open(self) -> TextIO:
        if self._stream is None:
            raise ValueError("the sink is not open: use it in a with statement")
        return self._stream

    def _rows(self, file: BinaryIO) -> Iterator[_Known]:
        """The whole rows of the continued file."""
        raise NotImplementedError


class JsonLinesSink(_FileSink):
    """A JSON object a line, UTF-8."""

    # JSON spells a lone surrogate just as backslashreplace does, so any file name survives the way there and back.
    _errors = "backslashreplace"

    def write(self, row: Row) -> None:
        self._open.write(json.dumps(row, ensure_ascii=False) + "\n")

    def _rows(self, file: BinaryIO) -> Iterator[_Known]:
        offset = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # half-written, so the last
            offset += len(line)
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict) or not isinstance(row.get("image"), str):
                raise InvalidInput(f"{self._target.final}: line {number} is no row of cvserve predict")
            made_by = (str(row["model"]), str(row.get("version"))) if "model" in row else None
            yield _Known(offset, row["image"], "error" in row, made_by)


class CsvSink(_FileSink):
    """A line a picture: image, task, model, version, error, then label, index and score of each class, best first."""

    _errors = "surrogateescape"
    _newline = ""

    def __init__(self, target: _Target, top_k: int, made_by: tuple[str, int] | None = None) -> None:
        super().__init__(target, made_by)
        self._top_k = top_k
        self._header = ["image", "task", "model", "version", "error"]
        for rank in range(1, top_k + 1):
            self._header += [f"label_{rank}", f"index_{rank}", f"score_{rank}"]

    def __enter__(self) -> Any:
        super().__enter__()
        self._writer = csv.writer(self._open, lineterminator="\n")
        if self._target.direct or self._target.part.stat().st_size == 0:
            self._writer.writerow(self._header)
        return self

    def write(self, row: Row) -> None:
        unknown = set(row) - {"image", "task", "model", "version", "error", "classes"}
        if unknown:
            raise InvalidInput(f"CSV has no column for {', '.join(sorted(unknown))}; write JSON lines instead")
        cells = [row.get(name, "") for name in self._header[:5]]
        for item in row.get("classes", [])[: self._top_k]:
            cells += [item["label"], item["index"], item["score"]]
        self._writer.writerow(cells + [""] * (len(self._header) - len(cells)))

    def _rows(self, file: BinaryIO) -> Iterator[_Known]:
        offset, whole = 0, True

        def lines() -> Iterator[str]:
            nonlocal offset, whole
            for line in file:
                offset += len(line)
                whole = line.endswith(b"\n")
                yield line.decode("utf-8", "surrogateescape")

        try:
            for number, cells in enumerate(csv.reader(lines()), 1):
                if number == 1 and whole and cells != self._header:
                    raise InvalidInput(f"{self._target.final} has other columns than {','.join(self._header)}")
                if whole and len(cells) == len(self._header):
                    made_by = (cells[2], cells[3]) if cells[2] else None  # an error has none
                    yield _Known(offset, None if number == 1 else cells[0], bool(cells[4]), made_by)
        except csv.Error as error:
            raise InvalidInput(f"{self._target.final} is no CSV file of cvserve predict: {error}") from error
