"""The learning rate of a step, as a pure function."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cvserve.training.config import ScheduleConfig


def learning_rate(schedule: ScheduleConfig, peak: float, step: int, *, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of step `step` (from 0) of a training of `epochs` * `steps_per_epoch` steps.

    The warm-up is linear, from peak / warm-up steps to the peak (Goyal et al. 2017, arXiv 1706.02677, section 2.2);
    cosine is Loshchilov & Hutter 2016, arXiv 1608.03983, without restarts.
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
    """How many epochs a training has in all that must end in time.

    Args:
        minutes: that it may take; None for no limit. most: epochs that it never has more of.
        spent: seconds so far. each: seconds of each epoch so far.

    Returns:
        Those so far, and as many more as fit if each takes as long as those did; before the first ends, `most`.
    """
    if minutes is None or not each:
        return most
    return min(most, len(each) + int(max(60 * minutes - spent, 0.0) / max(usual(each), 1e-9)))


def usual(each: Sequence[float]) -> float:
    """The mean; the first one, in which a graph is traced, counts only while it is the only one."""
    later = each[1:] or each
    return sum(later) / len(later)
