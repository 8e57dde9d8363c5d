"""The table of the demo's tasks: their order, and a task from outside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cvserve.demo import DEMO_TASKS, demo_tasks
from cvserve.tasks import TaskTable


def test_tasks_come_after_those_that_they_start_from() -> None:
    names = [task.task for task in demo_tasks()]
    assert names == ["classification", "segmentation", "detection", "captioning"]
    for index, task in enumerate(demo_tasks()):
        assert task.starts_from in (None, *names[:index])


def test_a_task_from_outside_runs_in_its_position(monkeypatch: pytest.MonkeyPatch) -> None:
    table = TaskTable("cvserve.demo.tasks", "DEMO_TASK", what="demo")
    monkeypatch.setattr("cvserve.demo.task.DEMO_TASKS", table)
    table.register("poses", replace(DEMO_TASKS["detection"], task="poses", position=9))
    assert [task.model for task in demo_tasks()][-2:] == ["scenes_captioning", "scenes_poses"]
