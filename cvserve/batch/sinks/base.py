"""The interface of sinks, and the base of those that write a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, Protocol, TextIO

from cvserve.batch.nameset import NameSet
from cvserve.batch.sinks.target import Target
from cvserve.errors import InvalidInput

Row = dict[str, Any]


class Known(NamedTuple):
    """Describes a row of a continued file.

    end: the offset of its end. name: the image; None for a header. made_by: the model and version; None for an error.
    top_k: the number of classes (classification); None if the row does not show it.
    """

    end: int
    name: str | None
    failed: bool
    made_by: tuple[str, str] | None
    top_k: int | None = None


class Sink(Protocol):
    """Takes rows in order, as a context manager; leaving it without an exception completes the file.

    done_before, failed_before: the numbers of rows of the continued file that are results, and errors. resumable:
    whether the file of an unfinished run can be continued.
    """

    done_before: int
    failed_before: int

    @property
    def resumable(self) -> bool:
        """Is true if an unfinished file can be continued."""

    def holds(self, name: str) -> bool:
        """Returns whether the file that is being continued has a row of this image."""

    def write(self, row: Row) -> None:
        """Writes one row."""

    def flush(self) -> None:
        """Writes what is in the buffer to the file."""

    def __enter__(self) -> Sink: ...

    def __exit__(self, kind: object, error: object, trace: object) -> None: ...


class FileSink:
    """Writes rows to a file; the base class of the sinks. _errors: how names that are not UTF-8 are written."""

    resumable: bool = True
    _errors: str
    _newline: str | None = None

    def __init__(self, target: Target, made_by: tuple[str, int] | None = None, *, top_k: int | None = None) -> None:
        self.done_before = 0
        self.failed_before = 0
        self._target = target
        self._made_by = None if made_by is None else (made_by[0], str(made_by[1]))
        self._top_k = top_k
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
            if kind is None:
                self._end()
            stream, self._stream = self._stream, None
            self._target.close(stream, complete=kind is None)

    def _end(self) -> None:
        """Writes the end of the file, after the last row."""

    def _continue(self, file: BinaryIO) -> None:
        """Reads the rows of the file, and cuts it off after the last complete one."""
        end = 0
        for row in self._rows(file):
            end = row.end
            if row.name is None:
                continue
            if row.made_by is not None and self._made_by not in (None, row.made_by):
                raise self._other_model(row.made_by)
            if row.top_k is not None and self._top_k not in (None, row.top_k):
                raise self._other_top_k(row.top_k)
            self._known.add(row.name)
            self.done_before += not row.failed
            self.failed_before += row.failed
        file.truncate(end)
        self._known.freeze()

    def _other_model(self, made_by: tuple[str, str]) -> InvalidInput:
        assert self._made_by is not None
        (name, version), (before, version_before) = self._made_by, made_by
        return InvalidInput(
            f"{self._target.final} has rows of {before} version {version_before}, which {name} version {version} "
            "cannot continue: name the same model (and --version), or another --out"
        )

    def _other_top_k(self, top_k: int) -> InvalidInput:
        return InvalidInput(
            f"{self._target.final} has rows of top-k {top_k}, which top-k {self._top_k} cannot continue: "
            f"give --top-k {top_k}, or another --out"
        )

    def holds(self, name: str) -> bool:
        """Returns whether the file that is being continued has a row of this image."""
        return name in self._known

    def flush(self) -> None:
        """Writes what is in the buffer to the file."""
        self._open.flush()

    @property
    def _open(self) -> TextIO:
        if self._stream is None:
            raise ValueError("the sink is not open: use it in a with statement")
        return self._stream

    def _rows(self, file: BinaryIO) -> Iterator[Known]:
        """Yields the complete rows of the continued file."""
        raise NotImplementedError
