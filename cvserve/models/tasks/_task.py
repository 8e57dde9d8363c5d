"""Defines the facts about a task that hold for all of its networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cvserve.errors import InvalidInput


@dataclass(frozen=True)
class ModelTask:
    """Holds what the networks of one task have in common.

    resize: how images of other shapes are brought to the network's size, see `PreprocSpec`.
    fewest, most: how many classes a network may have; most is None where there is no limit.
    counted: the number of classes that the parameter counts of `ModelEntry` are given for.
    classes: what the classes are called in messages.
    """

    resize: Literal["short_side", "letterbox"]
    fewest: int
    counted: int
    most: int | None = None
    classes: str = "classes"

    def check_classes(self, task: str, count: int) -> None:
        """Checks the number of classes that is asked for.

        Raises:
            InvalidInput: too few or too many.
        """
        if self.fewest <= count <= (self.most or count):
            return
        limits = f"at least {self.fewest}" if self.most is None else f"from {self.fewest} to {self.most}"
        raise InvalidInput(f"a {task} model has {limits} {self.classes}, not {count}")
