"""Holds what the networks of each task have in common: one module a task."""

from cvserve.models.tasks._task import ModelTask
from cvserve.tasks import TaskTable

MODEL_TASKS: TaskTable[ModelTask] = TaskTable("cvserve.models.tasks", "MODEL_TASK", what="network")

__all__ = ["MODEL_TASKS", "ModelTask"]
