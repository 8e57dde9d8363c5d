"""How the cores are divided among instances."""

from __future__ import annotations

import pytest

from cvserve.runtimes.instances import instance_plan


@pytest.mark.parametrize(
    ("instances", "threads", "cores", "expected"),
    [
        (None, None, 1, (1, 1)),
        (None, None, 2, (2, 1)),
        (None, None, 16, (4, 4)),
        (None, 4, 16, (4, 4)),
        (None, 8, 16, (2, 8)),
        (None, 32, 16, (1, 32)),
        (1, None, 16, (1, 16)),
        (3, 2, 2, (3, 2)),
        (64, None, 16, (64, 1)),
    ],
)
def test_instance_plans(instances: int | None, threads: int | None, cores: int, expected: tuple[int, int]) -> None:
    assert instance_plan(instances, threads, cores) == expected
