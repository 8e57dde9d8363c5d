"""The learning rate of a step, as a pure function."""

from __future__ import annotations

import math

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
