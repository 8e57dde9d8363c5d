"""Computes the learning rate of a step, and how many epochs fit into a time limit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cvserve.training.optimizer_config import ScheduleConfig


def learning_rate(schedule: ScheduleConfig, peak: float, step: int, *, steps_per_epoch: int, epochs: int) -> float:
    """Returns the learning rate of step `step` (from 0) of a training of `epochs` * `steps_per_epoch` steps.

    The warm-up is linear, from peak / warm-up steps to the peak (Goyal et al. 2017, arXiv 1706.02677, section 2.2);
    cosine is Loshchilov & Hutter 2016, arXiv 1608.03983, without restarts.

    Example:
        >>> schedule = ScheduleConfig(warmup_epochs=1)
        >>> [round(learning_rate(schedule, 1.0, step, steps_per_epoch=2, epochs=3), 2) for step in range(6)]
        [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    total = steps_per_epoch * epochs
    warmup = min(round(schedule.warmup_epochs * steps_per_epoch), total)
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule.name == "constant":
        return peak
    if schedule.name == "step":
        passed = sum(step >= share * total for share in schedule.milestones)
        return peak * schedule.factor**passed
    progress = min((step - warmup) / max(total - warmup, 1), 1.0)
    low = peak * schedule.final_share
    return low + (peak - low) * 0.5 * (1 + math.cos(math.pi * progress))


def epochs_within(minutes: float | None, most: int, spent: float, each: Sequence[float]) -> int:
    """Returns how many epochs a training with a time limit has in all.

    Args:
        minutes: the time limit; None for no limit. most: the largest number of epochs.
        spent: seconds so far. each: seconds of each epoch so far.

    Returns:
        The epochs so far, and as many more as fit if each takes as long as those did; `most` before the first ends.

    Example:
        >>> epochs_within(minutes=10, most=40, spent=180, each=[80, 50, 50])
        11
    """
    if minutes is None or not each:
        return most
    return min(most, len(each) + int(max(60 * minutes - spent, 0.0) / max(usual(each), 1e-9)))


def usual(each: Sequence[float]) -> float:
    """Returns the mean duration. The first epoch traces a graph: it counts only while it is the only one."""
    later = each[1:] or each
    return sum(later) / len(later)
