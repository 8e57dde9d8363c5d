"""Prints progress, tables, remarks and errors for people. Results go to stdout, everything else to stderr.

    for path in progress(paths, description="hashing", unit="files"):
        ...

    with Progress(total=steps, description="epoch 3/40", unit="images") as bar:
        for loss in training():
            bar.advance(32, loss=loss)

On a terminal the progress is a bar; anywhere else it is plain lines, few enough for a log. Both go to stderr, never
to stdout, so that a pipe carries only results. NO_COLOR and TERM=dumb are respected. If stderr is closed or full, the
progress is lost and the work goes on.
"""

from cvserve.console.lines import error, is_terminal, note, say
from cvserve.console.meter import Progress, progress
from cvserve.console.tables import format_table, table

__all__ = ["Progress", "error", "format_table", "is_terminal", "note", "progress", "say", "table"]
