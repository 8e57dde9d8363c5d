"""Holds the metric of each task: one module a task, with its `Metric` and a `TaskMetric` named METRIC."""

from __future__ import annotations

from cvserve.evaluation.task_metric import TaskMetric
from cvserve.tasks import TaskTable

METRICS: TaskTable[TaskMetric] = TaskTable("cvserve.evaluation.metrics", "METRIC", what="metric")
