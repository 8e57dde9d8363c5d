"""Finds what a layer does for each task, by the task's name: one module a task.

A layer that treats tasks differently (decoders, metrics, sinks, ...) has a package with one module for each task, named
after it, and one `TaskTable` over that package. Code elsewhere asks the table and never compares a task's name.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Generic, TypeVar

from cvserve.errors import InvalidInput

Entry = TypeVar("Entry")


class TaskTable(Generic[Entry]):
    """Maps the name of a task to what one layer has for it. Thread-safe.

    A task's module is imported when the task is first asked for, so that a table costs nothing until then.

    Args:
        package: the package with one public module a task, such as "cvserve.evaluation.metrics". Modules whose names
            begin with an underscore are no tasks.
        attribute: the name of the entry in each of these modules.
        what: what the table holds, for the error of an unknown task, such as "metric".

    Example:
        >>> table = TaskTable("cvserve.no_such_package", "ENTRY", what="decoder")
        >>> table.register("depth", 1)
        >>> table["depth"]
        1
        >>> table.names()
        ('depth',)
    """

    def __init__(self, package: str, attribute: str, *, what: str) -> None:
        self._package, self._attribute, self._what = package, attribute, what
        self._registered: dict[str, Entry] = {}
        self._found: list[str] | None = None

    def __getitem__(self, task: str) -> Entry:
        """Returns the entry of a task.

        Raises:
            InvalidInput: this layer has nothing for the task.
        """
        if task not in self._registered:
            if task not in self.names():
                raise InvalidInput(
                    f"there is no {self._what} for the task {task!r}; there are {', '.join(self.names())}"
                )
            module = importlib.import_module(f"{self._package}.{task}")
            self._registered.setdefault(task, getattr(module, self._attribute))
        return self._registered[task]

    def __contains__(self, task: str) -> bool:
        return task in self._registered or task in self._modules()

    def register(self, task: str, entry: Entry) -> None:
        """Adds a task from outside the package, or replaces the entry of one."""
        self._registered[task] = entry

    def names(self) -> tuple[str, ...]:
        """Returns the names of all tasks that the layer knows, sorted."""
        return tuple(sorted({*self._registered, *self._modules()}))

    def _modules(self) -> list[str]:
        if self._found is None:
            try:
                modules = pkgutil.iter_modules(importlib.import_module(self._package).__path__)
            except ModuleNotFoundError as error:
                if error.name != self._package:
                    raise
                return []
            self._found = [module.name for module in modules if not module.name.startswith("_")]
        return self._found
