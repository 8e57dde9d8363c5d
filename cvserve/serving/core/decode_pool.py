"""A bounded pool for the work on single pictures before the queue: decoding, turning, resizing."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from cvserve.errors import DeadlineExceeded, Overloaded, Unavailable
from cvserve.serving.core.mailbox import Mailbox

T = TypeVar("T")


class DecodePool:
    """Threads that take jobs in the order they came; OpenCV releases the interpreter's lock, so they use all cores.

    A job that is given up (its deadline has passed, its client has gone) before a thread took it never runs, and
    its picture is let go at once. Used from the loop's thread only.
    """

    def __init__(self, workers: int, max_waiting: int, max_bytes: int, mailbox: Mailbox) -> None:
        """
        Args:
            workers: threads.
            max_waiting: jobs that may wait for a thread; more are refused.
            max_bytes: of encoded pictures that may wait or be worked on.
        """
        self._loop = asyncio.get_running_loop()
        self._mailbox = mailbox
        self.workers = workers
        self._limit = workers + max_waiting
        self._max_bytes = max_bytes
        self._pending = 0
        self._pending_bytes = 0
        self._closed = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"decode-{index}", daemon=True) for index in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pending(self) -> int:
        """Jobs that wait or run."""
        return self._pending

    def check_room(self, size: int = 0) -> None:
        """Refuses at once when too much waits already.

        Raises:
            Overloaded
        """
        # One picture is let into an empty pool whatever its size: the limit on messages has already passed it.
        if self._pending >= self._limit:
            # Some of them may be done, and their answers in the box.
            self._mailbox.deliver()
        if self._pending and (self._pending >= self._limit or self._pending_bytes + size > self._max_bytes):
            raise Overloaded(
                f"{self._pending} pictures of {self._pending_bytes >> 20} MiB wait to be decoded; try again later"
            )

    async def run(
        self,
        function: Callable[[], T],
        *,
        size: int = 0,
        deadline: float = math.inf,
        needed: Callable[[], bool] = lambda: True,
    ) -> T:
        """Runs `function()` on a thread of the pool.

        Args:
            size: bytes of the encoded picture.
            deadline: in the loop's time.
            needed: whether the answer is wanted as soon as it is there, or may wait for the next event; asked on the
                pool's thread (see `Mailbox.post`).

        Raises:
            Overloaded: too many jobs wait. DeadlineExceeded: the deadline passed. Whatever `function` raises.
        """
        if self._closed:
            raise Unavailable("the server is shutting down")
        self.check_room(size)
        if deadline <= self._loop.time():
            raise DeadlineExceeded("the deadline had passed before the picture could be decoded")
        job = _Job(function, size, needed, self._loop.create_future())
        timer = None if deadline == math.inf else self._loop.call_at(deadline, _expire, job)
        self._pending += 1
        self._pending_bytes += size
        self._jobs.put(job)
        try:
            return await job.answer
        finally:
            if timer is not None:
                timer.cancel()
            if job.claim() is not None:
                self._leave(job)

    def close(self, timeout: float | None = None) -> None:
        """Ends the threads after the jobs that wait."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function = job.claim()
            if function is None:
                continue
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - handed to the caller, which waits on the loop
                self._mailbox.post(self._done, job, None, error)
            else:
                self._mailbox.post(self._done, job, result, None, needed=job.needed)
            # The picture is not kept until the next one comes.
            job = function = result = None  # type: ignore[assignment]

    def _done(self, job: _Job, result: Any, error: BaseException | None) -> None:
        self._leave(job)
        if job.answer.done():
            return
        if error is None:
            job.answer.set_result(result)
        else:
            job.answer.set_exception(error)

    def _leave(self, job: _Job) -> None:
        self._pending -= 1
        self._pending_bytes -= job.size


class _Job:
    __slots__ = ("_function", "answer", "needed", "size")

    def __init__(
        self, function: Callable[[], Any], size: int, needed: Callable[[], bool], answer: asyncio.Future[Any]
    ) -> None:
        self._function = [function]
        self.size = size
        self.needed = needed
        self.answer = answer

    def claim(self) -> Callable[[], Any] | None:
        """The function, to the first who asks: a thread that will run it, or the loop that has given it up."""
        try:
            return self._function.pop()
        except IndexError:
            return None


def _expire(job: _Job) -> None:
    if not job.answer.done():
        job.answer.set_exception(DeadlineExceeded("the deadline passed while the picture waited to be decoded"))
