"""Lists the inputs that failed at the end of a command, and chooses the exit code."""

from __future__ import annotations

from collections.abc import Sequence

from cvserve import console

LISTED = 20


def list_failures(failed: Sequence[tuple[str, str]], count: int, *, done: int = 1, where: str = "") -> int:
    """Lists (input, reason) on stderr, at most 20 of them.

    Args:
        failed: the failed inputs, or the first of them. count: the number of failed inputs.
        done: the number of inputs that did not fail.
        where: the file that lists all failed inputs, for the last line.

    Returns:
        The exit code: 0 if none failed, 1 if some did, 2 if all did.
    """
    if not count:
        return 0
    console.note(f"{count} of {done + count} inputs failed:")
    for name, reason in failed[:LISTED]:
        console.note(f"  {name}: {reason}")
    if count > LISTED:
        console.note(f"  and {count - LISTED} more{where and f', see {where}'}")
    return 1 if done else 2
