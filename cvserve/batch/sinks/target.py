"""The file of a sink: a complete file has its own name, an unfinished one another."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path
from typing import BinaryIO, TextIO

from cvserve.errors import InvalidInput


class Target:
    """Writes a file as `<name>.part`, which is renamed to `<name>` when all is done; or writes to stdout or a device.

    So a file with its own name is always complete, an earlier one is kept until the new one is complete, and a run that
    was killed can be continued.
    """

    def __init__(
        self, out: str | Path, *, resume: bool = False, overwrite: bool = False, resumable: bool = True
    ) -> None:
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
            ways = "continue it with --resume, or drop it with --overwrite" if resumable else "drop it with --overwrite"
            raise InvalidInput(f"{self.part} holds the rows of an unfinished run: {ways}")

    def open(self, *, errors: str, newline: str | None) -> TextIO:
        """Returns the stream to write to; errors and newline are those of Python's `open`."""
        if self.stdout:
            if isinstance(sys.stdout, io.TextIOWrapper):  # stdout gets the same format as a file
                self._stdout_before = sys.stdout.encoding, sys.stdout.errors
                sys.stdout.reconfigure(encoding="utf-8", errors=errors)
            return sys.stdout
        if self.direct:
            return self.final.open("w", encoding="utf-8", errors=errors, newline=newline)
        self.part.parent.mkdir(parents=True, exist_ok=True)
        return self.part.open("a" if self.resume else "w", encoding="utf-8", errors=errors, newline=newline)

    def continued(self) -> BinaryIO | None:
        """Returns the file to continue, open for reading and truncating; None where there is none."""
        if not self.resume:
            return None
        if not self.part.exists():
            if not self.final.exists():
                return None
            shutil.copyfile(self.final, self.part)
            self._copied = True
        return self.part.open("r+b")

    def refuse(self) -> None:
        """Gives up continuing the file: a finished one is left as it was."""
        if self._copied:
            self.part.unlink()

    def close(self, stream: TextIO, *, complete: bool) -> None:
        """Closes the stream, and renames a complete file to its own name."""
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
