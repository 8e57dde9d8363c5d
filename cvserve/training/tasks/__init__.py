"""Holds what training needs to know of each task: one module a task, with a class that is named there as TASK.

The modules import TensorFlow only where a network is built, so that settings are checked before it is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvserve.tasks import TaskTable

if TYPE_CHECKING:
    from cvserve.training.task import TrainingTask

TASKS: TaskTable[type[TrainingTask]] = TaskTable("cvserve.training.tasks", "TASK", what="training")
