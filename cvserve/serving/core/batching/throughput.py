"""How fast a queue moves, for refusing those whom it cannot serve in time and telling them when to try again."""

from __future__ import annotations

WEIGHT = 0.2
"""Of the newest measurement in the running mean: the last dozen of them decide."""

UNKNOWN_SECONDS = 0.1
"""What is answered before anything was measured."""

USUAL_OF = 5
"""Measurements whose median is the usual one: two of them may be outliers, such as a first, cold batch."""

LEAST_SECONDS, MOST_SECONDS = 0.01, 30.0


class Pace:
    """The running mean of what one request takes of a place, and from it how long a queue will take.

    Updates from several threads may lose one another, which a mean does not mind.
    """

    def __init__(self, places: int) -> None:
        """
        Args:
            places: how many work at the same time.
        """
        self._places = places
        self._seconds: float | None = None
        self._recent: tuple[float, ...] = ()
        self._usual = 0.0

    def took(self, seconds: float, requests: int = 1) -> None:
        """A place was busy that long with so many requests."""
        each = seconds / requests
        self._recent = recent = (*self._recent, each)[-USUAL_OF:]
        self._usual = sorted(recent)[(len(recent) - 1) // 2]
        self._seconds = each if self._seconds is None else self._seconds + WEIGHT * (each - self._seconds)

    def estimate(self, waiting: int) -> float | None:
        """Seconds until `waiting` requests have been worked off; None before anything was measured."""
        return None if self._seconds is None else self._seconds * waiting / self._places

    def at_best(self, waiting: int) -> float | None:
        """As `estimate`, but a batch that was much slower than those around it does not count. For refusing, after
        which there is less to measure, so that one slow batch would have many requests refused."""
        return None if self._seconds is None else min(self._seconds, self._usual) * waiting / self._places

    def wait(self, waiting: int) -> float:
        """The same for telling clients, 0.01 to 30."""
        seconds = self.estimate(waiting)
        return UNKNOWN_SECONDS if seconds is None else min(max(seconds, LEAST_SECONDS), MOST_SECONDS)
