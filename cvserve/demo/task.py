"""Describes what one task adds to the demo: its images, training and requests, and when results agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvserve.client import Client
from cvserve.data import Scenes
from cvserve.postproc import Result
from cvserve.tasks import TaskTable


@dataclass(frozen=True)
class Difference:
    """Holds how much results differ from those of Keras, for the same images.

    largest: the largest difference of a probability, a score, or whatever number the task's results have. same: whether
    the results agree.
    """

    largest: float
    same: bool


@dataclass(frozen=True)
class DemoTask:
    """Describes one task of the demo, on generated scenes.

    position: in the demo; a task comes after the one that it starts from. images: how many each split has. training:
    settings of `TrainConfig`. write: writes scenes to files. score: name and value of the main score in the
    evaluation's report. ask: sends images to a served model, in order. from_row: makes a result from a row of `cvserve
    predict`, given the labels. compare: compares results with those of Keras. options: for every prediction (see
    `Options`), given the labels. starts_from: the task from whose trained network the backbone is taken. inside: where
    in a split's folder the images are. look_at: images of the evaluation that are worth a look.
    """

    task: str
    position: int
    images: Mapping[str, int]
    training: Mapping[str, Any]
    write: Callable[[Scenes, Path], Path]
    score: Callable[[Any], tuple[str, float]]
    ask: Callable[[Client, str, Sequence[Path], Mapping[str, Any]], list[Result]]
    from_row: Callable[[Mapping[str, Any], tuple[str, ...]], Result]
    compare: Callable[[Sequence[Result], Sequence[Result]], Difference]
    options: Callable[[tuple[str, ...]], Mapping[str, Any]] = field(default=lambda labels: {})
    starts_from: str | None = None
    inside: str = ""
    look_at: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """Returns the model's name in the repository."""
        return f"scenes_{self.task}"


DEMO_TASKS: TaskTable[DemoTask] = TaskTable("cvserve.demo.tasks", "DEMO_TASK", what="demo")
"""What each task adds to the demo."""


def demo_tasks() -> tuple[DemoTask, ...]:
    """Returns all tasks of the demo, in the order in which it runs them."""
    return tuple(sorted((DEMO_TASKS[name] for name in DEMO_TASKS.names()), key=lambda task: task.position))
