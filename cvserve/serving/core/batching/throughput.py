"""Estimates how fast a queue moves, to refuse requests that cannot be answered in time and say when to try again."""

from __future__ import annotations

WEIGHT = 0.2
"""The weight of the newest measurement in the running mean: about the last twelve of them count."""

UNKNOWN_SECONDS = 0.1
"""The seconds that `wait` returns before anything was measured."""

MEDIAN_OF = 5
"""Number of measurements whose median is taken as usual: two of them may be outliers, such as a first, cold batch."""

MIN_SECONDS, MAX_SECONDS = 0.01, 30.0


class ThroughputEstimate:
    """Keeps the running mean of the seconds that one request takes of a slot, and estimates from it how long a queue
    will take.

    When several threads update it at the same time an update may be lost, which hardly changes a mean.
    """

    def __init__(self, slots: int) -> None:
        """
        Args:
            slots: the number of slots that work at the same time.
        """
        self._slots = slots
        self._seconds: float | None = None
        self._recent: tuple[float, ...] = ()
        self._median = 0.0

    def took(self, seconds: float, requests: int = 1) -> None:
        """Records that a slot was busy for `seconds` with this number of requests."""
        each = seconds / requests
        self._recent = recent = (*self._recent, each)[-MEDIAN_OF:]
        self._median = sorted(recent)[(len(recent) - 1) // 2]
        self._seconds = each if self._seconds is None else self._seconds + WEIGHT * (each - self._seconds)

    def at_best(self, waiting: int) -> float | None:
        """Returns the seconds until `waiting` requests are answered, None before anything was measured.

        A batch that was much slower than those around it does not count. While requests are refused there is less to
        measure, so one slow batch would have many requests refused.
        """
        return None if self._seconds is None else min(self._seconds, self._median) * waiting / self._slots

    def wait(self, waiting: int) -> float:
        """Returns the seconds after which a refused client may try again, 0.01 to 30."""
        if self._seconds is None:
            return UNKNOWN_SECONDS
        return min(max(self._seconds * waiting / self._slots, MIN_SECONDS), MAX_SECONDS)
