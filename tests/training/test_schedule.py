"""Learning rates against values worked out by hand."""

from __future__ import annotations

import pytest

from cvserve.training.optimizer_config import ScheduleConfig
from cvserve.training.schedule import epochs_within, learning_rate


def rates(schedule: ScheduleConfig, steps: list[int]) -> list[float]:
    return [learning_rate(schedule, 0.8, step, steps_per_epoch=10, epochs=12) for step in steps]


def test_warm_up_is_linear_and_ends_at_the_peak() -> None:
    schedule = ScheduleConfig(name="constant", warmup_epochs=2)
    assert rates(schedule, [0, 9, 19, 20, 119]) == pytest.approx([0.04, 0.4, 0.8, 0.8, 0.8])


def test_cosine_is_half_way_down_half_way_through() -> None:
    schedule = ScheduleConfig(name="cosine", warmup_epochs=2, final_share=0.1)
    assert rates(schedule, [20, 70, 120]) == pytest.approx([0.8, 0.44, 0.08])


def test_steps_fall_at_the_milestones() -> None:
    schedule = ScheduleConfig(name="step", warmup_epochs=0, milestones=(0.5, 0.75), factor=0.1)
    assert rates(schedule, [0, 59, 60, 89, 90, 119]) == pytest.approx([0.8, 0.8, 0.08, 0.08, 0.008, 0.008])


def test_a_warm_up_longer_than_the_training_never_passes_the_peak() -> None:
    schedule = ScheduleConfig(warmup_epochs=99)
    assert max(rates(schedule, list(range(120)))) <= 0.8


@pytest.mark.parametrize(
    ("minutes", "spent", "each", "expected"),
    [
        (None, 2.0, [1.0, 1.0], 40),
        (10, 50.0, [], 40),
        (10, 150.0, [100.0], 1 + 4),  # 50 s to begin with
        (10, 200.0, [100.0, 50.0], 2 + 8),  # the first epoch, with its tracing, does not count
        (10, 260.0, [100.0, 50.0, 60.0], 3 + 6),
        (10, 600.0, [590.0, 10.0], 2),
        (10, 700.0, [700.0], 1),
        (10, 2.0, [1.0, 1.0], 40),
        (10, 2.0, [0.0, 0.0], 40),
    ],
)
def test_epochs_end_in_time(minutes: float | None, spent: float, each: list[float], expected: int) -> None:
    assert epochs_within(minutes, 40, spent, each) == expected
