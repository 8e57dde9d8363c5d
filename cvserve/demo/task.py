"""What one task adds to the demo: its images, its training, its question to the server, and when answers agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvserve.artifact import Task
from cvserve.client import Client
from cvserve.data import Scenes
from cvserve.postproc import Result


@dataclass(frozen=True)
class Difference:
    """Between one place's results and those of Keras, for the same images.

    largest: of a probability, a score or whatever number the task answers with. same: whether they say the same.
    """

    largest: float
    same: bool


@dataclass(frozen=True)
class DemoTask:
    """A task on generated scenes.

    images: how many each split has. training: settings of `TrainConfig`. write: scenes to files. score: of the
    evaluation's report, by name. ask: a served model about images, in order. from_row: the result that a row of
    `cvserve predict` tells, given the labels. compare: results with those of Keras. options: of every place that is
    asked (see `Options`), given the labels. starts_from: the task whose trained network lends its backbone. inside:
    where in a split's folder the images are. look_at: images of the evaluation.
    """

    task: Task
    images: Mapping[str, int]
    training: Mapping[str, Any]
    write: Callable[[Scenes, Path], Path]
    score: Callable[[Any], tuple[str, float]]
    ask: Callable[[Client, str, Sequence[Path], Mapping[str, Any]], list[Result]]
    from_row: Callable[[Mapping[str, Any], tuple[str, ...]], Result]
    compare: Callable[[Sequence[Result], Sequence[Result]], Difference]
    options: Callable[[tuple[str, ...]], Mapping[str, Any]] = field(default=lambda labels: {})
    starts_from: Task | None = None
    inside: str = ""
    look_at: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The model's name in the repository."""
        return f"scenes_{self.task}"
