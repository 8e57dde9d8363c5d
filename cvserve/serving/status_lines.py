"""The lines that a server prints when the state of a model changes."""

from __future__ import annotations

from collections.abc import Callable

from cvserve.serving.core.manager import Manager, State, VersionStatus


class StatusLines:
    """Reports versions that are loaded, unloaded, broken or without their device."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._broken: dict[tuple[str, int], str] = {}

    def changed(self, status: VersionStatus, ready: bool) -> None:
        """Reports a change of a version's state.

        Args:
            ready: whether the server serves. While it starts and while it drains, versions that are loaded or unloaded
                are not reported.
        """
        what, key = f"{status.name} version {status.version}", (status.name, status.version)
        if status.lost is not None:
            self._report(f"{what} has lost its device, and only another process may get it back: {status.lost}")
        elif status.error is not None:
            line = f"{what} cannot be served: {status.error}"
            # Reported only once, however often the version is tried again.
            if status.state is State.END and self._broken.get(key) != line:
                self._broken[key] = line
                self._report(line)
        elif status.state in (State.AVAILABLE, State.END):
            self._broken.pop(key, None)
            if ready:
                self._report(f"{what} is " + ("served" if status.state is State.AVAILABLE else "unloaded"))


def describe(manager: Manager) -> list[str]:
    """Returns a line for each version that is available: "flowers version 1: onnx, 2 instances x 1 thread, ..."."""
    lines = []
    for status in manager.all_status():
        if status.state is State.AVAILABLE:
            with manager.acquire(status.name, status.version) as servable:
                lines.append(f"{status.name} version {status.version}: {servable.model.describe()}")
    return lines
