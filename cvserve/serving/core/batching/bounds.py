"""How much may wait in front of a model, and what became of it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class QueueBounds:
    """How much may wait: requests, and bytes of their tensors. seconds: for how long. priority_levels: how many there
    are, 1 going first; 0: none. default_priority: of requests that say none."""

    requests: int = 256
    bytes: int = 512 << 20
    seconds: float = math.inf
    priority_levels: int = 0
    default_priority: int = 0


@dataclass
class BatcherCounts:
    """What the batcher has done so far."""

    requests: int = 0
    batches: int = 0
    rows: int = 0
    padded_rows: int = 0
    rejected: int = 0
    expired: int = 0
    cancelled: int = 0
    retried: int = 0
