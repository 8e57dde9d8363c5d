"""Measures how many batches to run at the same time and how large they should be, where the settings leave it open."""

from __future__ import annotations

import logging
import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cvserve.errors import OutOfMemory
from cvserve.runtimes.instances import InstancePlan
from cvserve.serving.core.batching.execution import RunGraph, Tensors

_LOG = logging.getLogger(__name__)

MAX_ROWS = 32
"""The largest batch that is tried when max_batch_size is not given."""

WORTHWHILE = 0.06
"""The least gain in the rate for each doubling of the batch, since the first image waits for the others."""

HAND_OVER_SECONDS = 0.0003
"""Seconds that a batch costs beside its run: its worker is woken, its answers are handed to the loop.

With 64 clients on the same 2 cores and a graph that gains nothing from batching (7.4 ms per image), batches of 1
answered 1.08 times as many requests as batches of up to 4 (benchmarks/serving_throughput.py). With a larger cost here
the slower one would have been chosen.
"""

CLEARLY_BETTER = 1.5
"""A batch with this many times the rate of single rows need not be compared with them (`race`)."""

TURNS = 3
"""Timed runs of each batch size after the first one; the fastest counts."""

FAR_SLOWER = 0.8
"""The search for a batch size ends at one with less than this fraction of the best rate in its first run."""

MAX_BATCH_SECONDS = 1.0
"""Larger batches are not tried once a batch takes this long."""

AS_GOOD = 0.97
"""A plan with this fraction of the best rate counts as equal under load; the time of a lone image then decides."""

NEARLY_AS_GOOD = 0.9
"""The same fraction where lone images have a replica to themselves; the CPU time then decides. It is smaller, since on
a busy host the rates of the same plan differ by more than a tenth from one measurement to the next."""

AS_CHEAP = 1.03
"""A plan with at most this many times the CPU time of the cheapest counts as equally cheap; the one with fewer threads
is then chosen."""

FASTER = 0.95
"""A plan with a lower rate is chosen only if a lone image takes less than this fraction of the time."""

ROUNDS = 6
ROUND_SECONDS = 0.2
"""Seconds of each plan in each round, or the time of two batches if that is longer."""

Key = TypeVar("Key")


@dataclass(frozen=True)
class Trial:
    """Describes an instance plan to measure.

    Attributes:
        graphs: the graph of each worker.
        batch: the rows of each run.
        decodes_in_worker: as in `LoadedModel`.
        lone_rows: the number of rows that a single row is padded to.
    """

    graphs: Sequence[RunGraph]
    batch: int
    decodes_in_worker: bool
    lone_rows: int = 1


@dataclass(frozen=True)
class Score:
    """Holds the measurements of a plan.

    Attributes:
        rate: the rows per second with all workers busy, decoding included, in the best round.
        lone: the seconds of one row alone.
        steady: the rate of the median round, as a fraction of the best; far below 1 where something else used the CPU.
        cpu: the CPU seconds of a row, in the median round.
    """

    rate: float
    lone: float
    steady: float = 1.0
    cpu: float = 0.0


def good_batches(
    graphs: Sequence[RunGraph], make: Callable[[int], Tensors], *, in_turns: bool = True
) -> tuple[int, ...]:
    """Finds the smallest batch that answers nearly as many rows per second as the best one, all workers at the same
    time.

    Args:
        graphs: the graph of each worker.
        make: makes inputs of that many rows.
        in_turns: False where changing the size between two calls costs a second: each size is then measured alone.

    Returns:
        That batch; where it gains little, 1 as well, since only a comparison with decoding (`race`) shows the better.

    Raises:
        OutOfMemory: there is no room for one row.
    """
    with ThreadPoolExecutor(len(graphs)) as pool:
        return _good_batches(pool, graphs, make, in_turns)


def _good_batches(
    pool: ThreadPoolExecutor, graphs: Sequence[RunGraph], make: Callable[[int], Tensors], in_turns: bool
) -> tuple[int, ...]:
    fastest: dict[int, float] = {}

    def rate(size: int) -> float:
        return size * len(graphs) / (fastest[size] + HAND_OVER_SECONDS)

    for size in sizes(MAX_ROWS):
        inputs = make(size)
        try:
            # The first run traces, packs and allocates, so its time does not count.
            run_all(pool, graphs, inputs)
            fastest[size] = min(run_all(pool, graphs, inputs) for _ in range(1 if in_turns else 1 + TURNS))
        except OutOfMemory as error:
            if not fastest:
                raise
            _LOG.info("there is not enough memory for batches of %d: %s", size, error)
            break
        if fastest[size] > MAX_BATCH_SECONDS or rate(size) < FAR_SLOWER * max(map(rate, fastest)):
            break
    # In turns, so that other work on the machine, which can only make a run slower, disturbs all sizes alike.
    for _ in range(TURNS if in_turns else 0):
        for size in fastest:
            fastest[size] = min(fastest[size], run_all(pool, graphs, make(size)))
    best = 1
    for size in fastest:
        if is_worthwhile(size, rate(size), best, rate(best)):
            best = size
    _LOG.info("rows per second by batch size: %s", {size: round(rate(size), 1) for size in fastest})
    return (best,) if best == 1 or rate(best) >= CLEARLY_BETTER * rate(1) else (best, 1)


def is_worthwhile(batch: int, rate: float, smaller: int, its_rate: float) -> bool:
    """Returns whether a larger batch answers enough more rows per second than a smaller one."""
    return rate > its_rate * (1 + WORTHWHILE) ** math.log2(batch / smaller)


def sizes(largest: int) -> Sequence[int]:
    """Returns 1, 2, 4, ... and the largest."""
    return (*(1 << power for power in range(largest.bit_length()) if 1 << power < largest), largest)


def run_all(pool: ThreadPoolExecutor, graphs: Sequence[RunGraph], inputs: Tensors) -> float:
    """Returns the seconds until every worker has run the batch, all at the same time."""
    start = time.perf_counter()
    futures = [pool.submit(graph, inputs, None) for graph in graphs]
    try:
        while futures:
            futures.pop(0).result()
    finally:
        # A future with an exception would keep all of them and their tensors in memory until the collector runs.
        futures.clear()
    return time.perf_counter() - start


def race(
    trials: Mapping[Key, Trial], prepare: Callable[[], Tensors], decoders: int, *, in_turns: bool = True
) -> dict[Key, Score]:
    """Measures the plans in rounds, so that other work on the machine disturbs all of them alike.

    Args:
        trials: the plans.
        prepare: decodes an image to inputs of one row, as a request would have it.
        decoders: threads that decode where the workers do not.
        in_turns: as in `good_batches`; False has one plan's rounds after another's.
    """
    row = prepare()
    rates: dict[Key, list[float]] = {key: [] for key in trials}
    cpus: dict[Key, list[float]] = {key: [] for key in trials}
    lone = dict.fromkeys(trials, math.inf)
    order = list(trials) * ROUNDS if in_turns else [key for key in trials for _ in range(ROUNDS)]
    for key in order:
        trial = trials[key]
        if not rates[key]:
            with ThreadPoolExecutor(len(trial.graphs)) as pool:
                run_all(pool, trial.graphs, _joined([row] * trial.batch))
        rate, cpu = _rate(trial, prepare, decoders, ROUND_SECONDS)
        rates[key].append(rate)
        cpus[key].append(cpu)
        alone = _joined([row] * trial.lone_rows)
        for _ in range(TURNS):
            start = time.perf_counter()
            trial.graphs[0](alone, None)
            lone[key] = min(lone[key], time.perf_counter() - start)
    scores = {
        key: Score(
            max(rates_of_plan),
            lone[key],
            statistics.median(rates_of_plan) / max(rates_of_plan),
            statistics.median(cpus[key]),
        )
        for key, rates_of_plan in rates.items()
    }
    _LOG.info("instance plans: %s", {str(key): _described(score) for key, score in scores.items()})
    return scores


def _described(score: Score) -> str:
    return f"{score.rate:.1f}/s, alone {score.lone * 1000:.1f} ms, cpu {score.cpu * 1000:.1f} ms"


def choose(scores: Mapping[InstancePlan, Score], *, lone_replica: bool = False) -> InstancePlan:
    """Returns the plan that is fastest with a lone image, of those that are as good as the best one under load.

    Args:
        scores: of each plan.
        lone_replica: whether lone images may have a replica of the graph to themselves, so that their time does not
            count: of the plans that are nearly as good, one with the least CPU time is returned, which leaves the cores
            to the messages.
    """
    best = max(scores.values(), key=lambda score: score.rate)
    if lone_replica:
        good = [key for key, score in scores.items() if score.rate >= NEARLY_AS_GOOD * best.rate]
        cheapest = min(scores[key].cpu for key in good)
        cheap = [key for key in good if scores[key].cpu <= AS_CHEAP * cheapest]
        return min(cheap, key=lambda key: (key.instances * key.threads, -scores[key].rate))
    good = [key for key, score in scores.items() if score.rate >= AS_GOOD * best.rate]
    chosen = max(good, key=lambda key: scores[key].rate)
    for key in good:
        if scores[key].lone < FASTER * scores[chosen].lone:
            chosen = key
    return chosen


def lone_threads(scores: Mapping[InstancePlan, Score], chosen: InstancePlan) -> int | None:
    """Returns the number of threads of a replica for lone images, if it would be so much faster than the chosen plan
    that it is worth its memory; else None."""
    fastest = min(scores, key=lambda plan: scores[plan].lone)
    if fastest.threads == chosen.threads or scores[fastest].lone >= FASTER * scores[chosen].lone:
        return None
    return fastest.threads


def _rate(trial: Trial, prepare: Callable[[], Tensors], decoders: int, seconds: float) -> tuple[float, float]:
    """Returns the rows per second of all workers, each of which takes a batch, runs it and takes the next; and the CPU
    seconds of a row."""
    counts = [0] * len(trial.graphs)
    failures: list[BaseException] = []
    with ThreadPoolExecutor(decoders) as pool:
        start, cpu = time.perf_counter(), time.process_time()

        def work(index: int) -> None:
            ahead: deque[Future[Tensors]] = deque()
            try:
                while time.perf_counter() - start < seconds or counts[index] < 2 * trial.batch:
                    if trial.decodes_in_worker:
                        rows = [prepare() for _ in range(trial.batch)]
                    else:
                        while len(ahead) < 2 * trial.batch:
                            ahead.append(pool.submit(prepare))
                        rows = [ahead.popleft().result() for _ in range(trial.batch)]
                    trial.graphs[index](_joined(rows), None)
                    counts[index] += trial.batch
            except BaseException as error:  # noqa: BLE001 - raised by the caller, below
                failures.append(error)
            for future in ahead:
                future.cancel()

        threads = [threading.Thread(target=work, args=(index,)) for index in range(len(trial.graphs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took, cpu = time.perf_counter() - start, time.process_time() - cpu
    if failures:
        raise failures[0]
    return sum(counts) / took, cpu / sum(counts)


def _joined(rows: Sequence[Tensors]) -> Tensors:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
