"""Runs the requests of one batch on a worker: makes their tensors, runs the graph, finishes their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cvserve.errors import OutOfMemory
from cvserve.serving.core.batching.execution import RunGraph, Tensors, entry_point, run_batch
from cvserve.serving.core.batching.policy import BatchLimits
from cvserve.serving.core.batching.requests import Entry, Failed
from cvserve.serving.core.observer import VersionReport


@dataclass
class Outcome:
    """Holds the outcome of a batch.

    Attributes:
        answers: a result, an exception or a `Failed` for each entry; cancelled entries have none.
        retry: entries to be run again, each alone, since the batch failed.
        rows, padding: the rows and padding rows of the run, 0 where nothing ran.
        ran: whether the graph was called.
    """

    answers: dict[Entry, Any] = field(default_factory=dict)
    retry: Sequence[Entry] = ()
    rows: int = 0
    padding: int = 0
    ran: bool = False


@dataclass(frozen=True)
class BatchRunner:
    """Runs batches of entries, on the thread of a worker.

    Attributes:
        limits: give the sizes that batches are padded to.
        clock: returns seconds.
        report: gets the stages and the batches.
    """

    limits: BatchLimits
    clock: Callable[[], float]
    report: VersionReport

    def run(self, graph: RunGraph, batch: Sequence[Entry], *, lone: bool) -> Outcome:
        """Runs one batch. Raises nothing.

        Args:
            graph: the graph of the worker.
            batch: entries of one group.
            lone: whether no other batch runs or waits.
        """
        outcome = Outcome()
        ready: list[Entry] = []
        began = self.clock()
        try:
            for entry in batch:
                self.report.stage("queue", began - entry.admitted)
                if entry.trace is not None:
                    entry.trace("queue", entry.admitted, began)
                # Its deadline may have passed while the tensors of the others were made.
                if not entry.gone:
                    failed = self._make(entry)
                    if failed is None:
                        ready.append(entry)
                    else:
                        outcome.answers[entry] = failed
            if ready:
                self._finish(ready, self._run_graph(graph, ready, outcome, lone), outcome)
        except BaseException as error:  # noqa: BLE001 - handed to the callers, which wait on the loop
            if len(ready) == 1 or self._needs_as_much_memory(ready, error):
                outcome.answers |= dict.fromkeys(ready, error)
            else:
                outcome.retry = ready
        return outcome

    def _make(self, entry: Entry) -> Failed | None:
        """Makes the entry's tensors, if they are not made yet."""
        if entry.make is None:
            return None
        began = self.clock()
        try:
            entry.inputs = entry.make()
        except Exception as error:  # noqa: BLE001 - handed to the caller, which waits on the loop
            return Failed(error)
        finally:
            if entry.trace is not None:
                entry.trace("decode", began, self.clock())
        # The encoded image is freed before the graph runs.
        entry.make = None
        return None

    def _run_graph(self, graph: RunGraph, batch: Sequence[Entry], outcome: Outcome, lone: bool) -> list[Tensors]:
        rows = [entry.rows for entry in batch]
        size = self.limits.padded(sum(rows))
        outcome.ran = True
        outcome.rows, outcome.padding = (1, 0) if batch[0].alone else (sum(rows), size - sum(rows))
        self.report.batch(outcome.rows, outcome.rows + outcome.padding)
        began = self.clock()
        call = entry_point(graph, batch[0].signature, lone=lone)
        outputs = run_batch(call, [entry.inputs for entry in batch], rows, size, batch[0].outputs)
        ended = self.clock()
        self.report.stage("run", ended - began)
        for entry in batch:
            if entry.trace is not None:
                entry.trace("run", began, ended)
        return outputs

    def _finish(self, batch: Sequence[Entry], outputs: Sequence[Tensors], outcome: Outcome) -> None:
        for entry, tensors in zip(batch, outputs, strict=True):
            if entry.finish is None:
                outcome.answers[entry] = tensors
                continue
            began = self.clock()
            try:
                outcome.answers[entry] = entry.finish(tensors)
            except Exception as error:  # noqa: BLE001 - handed to the caller, which waits on the loop
                outcome.answers[entry] = Failed(error)
            ended = self.clock()
            self.report.stage("postprocess", ended - began)
            if entry.trace is not None:
                entry.trace("postprocess", began, ended)

    def _needs_as_much_memory(self, batch: Sequence[Entry], error: BaseException) -> bool:
        """Returns whether there was no memory for the batch, and each member alone would be padded to the same size."""
        size = self.limits.padded(sum(entry.rows for entry in batch))
        return isinstance(error, OutOfMemory) and all(self.limits.padded(entry.rows) == size for entry in batch)
