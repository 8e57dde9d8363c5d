"""`TaskTable` finds the module of a task, imports it late, and takes tasks from outside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cvserve.errors import InvalidInput
from cvserve.tasks import TaskTable


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskTable[str]:
    package = tmp_path / "layer_of_this_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "depth.py").write_text('ENTRY = "for depth"')
    (package / "_shared.py").write_text('raise AssertionError("no task")')
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("layer_of_this_test")]:
        monkeypatch.delitem(sys.modules, name)
    return TaskTable("layer_of_this_test", "ENTRY", what="decoder")


def test_a_task_is_a_module_of_the_package(table: TaskTable[str]) -> None:
    assert "layer_of_this_test.depth" not in sys.modules
    assert (table["depth"], table.names()) == ("for depth", ("depth",))


def test_tasks_come_from_outside(table: TaskTable[str]) -> None:
    table.register("pose", "for pose")
    assert (table["pose"], table.names(), "pose" in table) == ("for pose", ("depth", "pose"), True)


def test_an_unknown_task_is_one_sentence(table: TaskTable[str]) -> None:
    with pytest.raises(InvalidInput, match="no decoder for the task 'flow'; there are depth"):
        table["flow"]
    assert "_shared" not in table
