"""A bounded pool of threads that decode, turn and resize single images before the queue."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from cvserve.errors import DeadlineExceeded, Overloaded, Unavailable
from cvserve.serving.core.batching.requests import answerable
from cvserve.serving.core.batching.throughput import ThroughputEstimate
from cvserve.serving.core.loop_callbacks import LoopCallbacks
from cvserve.serving.core.thread_names import DECODING, name_thread

T = TypeVar("T")


class DecodePool:
    """Runs jobs on threads in the order they came. OpenCV releases the interpreter's lock, so they use all cores.

    A job that is cancelled (its deadline has passed, its client has gone) before a thread took it never runs, and
    its image is freed at once. `start`, `run` and `close` are called on the loop's thread.
    """

    def __init__(self, workers: int, max_waiting: int, max_bytes: int, callbacks: LoopCallbacks) -> None:
        """
        Args:
            workers: the number of threads.
            max_waiting: the number of jobs that may wait for a thread; more are refused.
            max_bytes: the bytes of encoded images that may wait or be decoded.
            callbacks: run on the loop what the threads hand over.
        """
        self._loop = asyncio.get_running_loop()
        self._callbacks = callbacks
        self.workers = workers
        self._limit = workers + max_waiting
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._throughput = ThroughputEstimate(workers)
        self._pending = 0
        self._pending_bytes = 0
        self._closed = False
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{DECODING}{index}", daemon=True) for index in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pending(self) -> int:
        """The number of jobs that wait or run."""
        return self._pending

    def start(
        self,
        function: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[BaseException], None],
        *,
        size: int = 0,
    ) -> Job:
        """Starts `function()` on a thread, which then calls `done(result)`, or `failed(error)` if it raised.

        Args:
            size: bytes of the encoded image.

        Returns:
            The job, which can be cancelled.

        Raises:
            Overloaded: too much waits already. Unavailable: the pool is closed.
        """
        if self._closed:
            raise Unavailable("the server is shutting down")
        with self._lock:
            # One image is let into an empty pool whatever its size: the limit on messages has already passed it.
            if self._pending and (self._pending >= self._limit or self._pending_bytes + size > self._max_bytes):
                raise Overloaded(
                    f"{self._pending} images of {self._pending_bytes >> 20} MiB wait to be decoded; try again later",
                    self._throughput.wait(self._pending),
                )
            self._pending += 1
            self._pending_bytes += size
        job = Job(self, function, done, failed, size)
        self._jobs.put(job)
        return job

    async def run(self, function: Callable[[], T], *, size: int = 0, deadline: float = math.inf) -> T:
        """Runs `function()` on a thread of the pool and waits for its result.

        Args:
            size: bytes of the encoded image.
            deadline: in the loop's time.

        Raises:
            Overloaded: too much waits. DeadlineExceeded: the deadline passed. Whatever `function` raises.
        """
        if deadline <= self._loop.time():
            raise DeadlineExceeded("the deadline had passed before the image could be decoded")
        answer: asyncio.Future[T] = self._loop.create_future()

        def done(result: T) -> None:
            self._callbacks.post(_set_result, answer, result)

        def failed(error: BaseException) -> None:
            self._callbacks.post(_set_exception, answer, error)

        job = self.start(function, done, failed, size=size)
        late = DeadlineExceeded("the deadline passed while the image waited to be decoded")
        timer = None if deadline == math.inf else self._loop.call_at(deadline, _set_exception, answer, late)
        try:
            return await answer
        finally:
            if timer is not None:
                timer.cancel()
            job.give_up()

    def close(self, timeout: float | None = None) -> None:
        """Ends the threads after the waiting jobs."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout)

    def took(self, seconds: float) -> None:
        """Records how long a thread was busy with an image. Called by `Job`."""
        self._throughput.took(seconds)

    def leave(self, job: Job) -> None:
        """Removes a job from the count. Called by `Job`."""
        with self._lock:
            self._pending -= 1
            self._pending_bytes -= job.size

    def _work(self) -> None:
        name_thread(threading.current_thread().name)
        while (job := self._jobs.get()) is not None:
            job.work()
            # Frees the image now rather than when the next one comes.
            job = None  # type: ignore[assignment]


class Job:
    """Holds one image that waits for the pool or is being decoded. Thread-safe."""

    __slots__ = ("_pool", "_steps", "size")

    def __init__(
        self,
        pool: DecodePool,
        function: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None],
        size: int,
    ) -> None:
        self._pool = pool
        # Whoever pops the work owns it: a thread that will run it, or the loop that has cancelled it.
        self._steps = [(function, done, failed)]
        self.size = size

    def give_up(self) -> None:
        """Cancels the job and frees its image, if no thread has taken it yet."""
        if self._claim() is not None:
            self._pool.leave(self)

    def work(self) -> None:
        """Runs the job unless it was cancelled."""
        steps = self._claim()
        if steps is None:
            return
        function, done, failed = steps
        began = time.monotonic()
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - handed to the caller, which waits on the loop
            self._pool.leave(self)
            failed(error)
        else:
            self._pool.took(time.monotonic() - began)
            self._pool.leave(self)
            done(result)

    def _claim(self) -> tuple[Callable[[], Any], Callable[[Any], None], Callable[[BaseException], None]] | None:
        try:
            return self._steps.pop()
        except IndexError:
            return None


def _set_result(answer: asyncio.Future[Any], result: Any) -> None:
    if not answer.done():
        answer.set_result(result)


def _set_exception(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(answerable(error))
