"""Runs many images through a pipeline: decodes ahead in threads, runs batches, writes in order, in constant memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from cvserve.artifact import Manifest
from cvserve.batch.annotate import write_annotated
from cvserve.batch.sinks import SINK_RULES, Row, Sink
from cvserve.batch.sinks.rules import RowOptions
from cvserve.batch.sources import Source
from cvserve.console import Progress
from cvserve.errors import ImageError, InvalidInput
from cvserve.parallel import ordered_map
from cvserve.pipeline import Pipeline, Prepared
from cvserve.postproc import Options, Result
from cvserve.runtimes.device import usable_cores

REPORTED_FAILURES = 1000
"""Number of failures that a Summary lists; the output has all of them."""


@dataclass
class Summary:
    """Counts the images of a run.

    done, failed_count: the numbers of images with a result, and with an error. failed: (image, reason) of the first
    failures. skipped: the number of images that the continued file had already; failed_before: the number of its rows
    that are errors. seconds: the time from the first image to the last row.
    """

    done: int = 0
    failed_count: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: int = 0
    failed_before: int = 0
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Returns the number of images with a result per second, 0 if there were none."""
        return self.done / self.seconds if self.done and self.seconds else 0.0

    def fail(self, name: str, reason: str) -> None:
        """Counts an image with an error."""
        self.failed_count += 1
        if len(self.failed) < REPORTED_FAILURES:
            self.failed.append((name, reason))


def predict(
    pipelines: Pipeline | Sequence[Pipeline],
    sources: Iterable[Source],
    sink: Sink,
    *,
    annotate: str | Path | None = None,
    top_k: int | None = None,
    score_threshold: float | None = None,
    max_results: int | None = None,
    mask_format: str | None = None,
    masks: str | Path | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    total: int | None = None,
) -> Summary:
    """Writes one row for each image into the sink, in the order of the sources.

    An image that cannot be used gets a row with the error and does not stop the others. At most a batch for each
    pipeline, three more batches and an image for each worker are in memory at any time.

    Args:
        pipelines: the pipelines of one artifact; each runs one batch at a time (see `open_instances`).
        sources: any stream of images, which is read as far as needed.
        sink: an open sink (inside its `with`).
        annotate: a folder for copies with the result drawn on them.
        top_k, score_threshold, max_results: see `cvserve.postproc.Options`.
        mask_format: how a row holds the masks of a segmentation (see `EncodedSegmentation`); None: as "png", or no
            masks if `masks` is given. For objects with masks, see `DetectionResult.to_dict`; None: as "rle".
        masks: for segmentation, a folder for the class maps as PNG files, whose names the rows then have as "file".
        batch_size: images in each call of the graph; as many class maps are in memory at the same time.
        workers: threads that decode (and annotate); by default one for each usable core.
        total: the number of sources, for the progress.

    Raises:
        CvserveError: an error that concerns all images: the graph fails, or a file cannot be written.
    """
    if batch_size < 1:
        raise InvalidInput(f"the batch size must be at least 1, not {batch_size}")
    workers = workers or usable_cores()
    if workers < 1:
        raise InvalidInput(f"the number of workers must be at least 1, not {workers}")
    options = Options(top_k, score_threshold, max_results, mask_format)
    row_options = RowOptions(mask_format, None if masks is None else Path(masks))

    def finish(source: Source, result: Result) -> _Answer:
        return _Answer(SINK_RULES[result.task].row(source, result, row_options), result if annotate else None)

    # Masks are drawn even if they are not written to the rows.
    graph_options = options if annotate is None else replace(options, mask_format=None)
    graphs = _Graphs([pipelines] if isinstance(pipelines, Pipeline) else pipelines, graph_options, finish)
    summary = Summary(failed_before=sink.failed_before)
    start = time.perf_counter()
    with (
        Progress(total, "predicting", unit="images") as bar,
        _Annotator(annotate, workers, ahead=batch_size) as annotator,
    ):

        def wanted() -> Iterator[Source]:
            for source in sources:
                if sink.holds(source.name):
                    summary.skipped += 1
                    bar.skip()
                else:
                    yield source

        # While each pipeline runs a batch, one more batch waits, one is being decoded and one is being written.
        prepared = ordered_map(graphs.prepare, wanted(), workers=workers, ahead=batch_size + workers)
        batches = iter(lambda: list(islice(prepared, batch_size)), [])
        answered = ordered_map(graphs.run, batches, workers=graphs.count, ahead=graphs.count + 1)
        with closing(prepared), closing(answered):
            for batch in answered:
                for source, outcome in batch:
                    sink.write(_row(source, outcome, graphs.manifest))
                    if isinstance(outcome, str):
                        summary.fail(source.name, outcome)
                    else:
                        summary.done += 1
                        if outcome.result is not None:
                            annotator.add(source, outcome.result)
                sink.flush()
                fields = {"failed": summary.failed_count} if summary.failed_count else {}
                bar.advance(len(batch), **fields)
    for name, reason in annotator.failed:
        summary.fail(name, f"predicted, but not annotated: {reason}")
    summary.seconds = time.perf_counter() - start
    return summary


def _row(source: Source, outcome: _Answer | str, manifest: Manifest) -> Row:
    if isinstance(outcome, str):
        return {"image": source.name, "error": outcome}
    known = {"image": source.name, "task": manifest.task, "model": manifest.name, "version": manifest.version}
    return {**known, **outcome.row}


@dataclass(frozen=True)
class _Answer:
    """Holds the answer for one image. row: the task's part of the row. result: kept only for drawing, since it is
    large."""

    row: Row
    result: Result | None


class _Graphs:
    """Runs each batch on a free pipeline. For an image that failed, the reason is passed on as text.

    The exception itself is not kept: its traceback would hold the file's bytes in memory until the row is written.
    """

    def __init__(
        self, pipelines: Sequence[Pipeline], options: Options, finish: Callable[[Source, Result], _Answer]
    ) -> None:
        if not pipelines:
            raise InvalidInput("there is no pipeline to run the images through")
        self._finish = finish
        self.count = len(pipelines)
        self.manifest = pipelines[0].manifest
        self._first = pipelines[0]
        self._options = options
        self._free: SimpleQueue[Pipeline] = SimpleQueue()
        for pipeline in pipelines:
            self._free.put(pipeline)

    def prepare(self, source: Source) -> tuple[Source, Prepared | str]:
        try:
            return source, self._first.prepare(source.path, source.name)
        except ImageError as error:
            return source, error.reason

    def run(self, batch: list[tuple[Source, Prepared | str]]) -> list[tuple[Source, _Answer | str]]:
        pipeline = self._free.get()
        try:
            readable = [item for _, item in batch if isinstance(item, Prepared)]
            results = pipeline.run(readable, self._options)
        finally:
            self._free.put(pipeline)
        results.reverse()
        # Each result is freed as soon as its row is made.
        return [
            (source, item if isinstance(item, str) else self._finish(source, results.pop())) for source, item in batch
        ]


class _Annotator:
    """Writes annotated copies in threads, of which at most `ahead` wait; does nothing without a folder."""

    def __init__(self, folder: str | Path | None, workers: int, ahead: int) -> None:
        self.failed: list[tuple[str, str]] = []
        self._folder = None if folder is None else Path(folder)
        self._pool = ThreadPoolExecutor(workers, "annotate")
        self._ahead = ahead
        self._pending: deque[tuple[Source, Future[Path]]] = deque()

    def add(self, source: Source, result: Result) -> None:
        if self._folder is not None:
            self._pending.append((source, self._pool.submit(write_annotated, source, result, self._folder)))
            self._wait(self._ahead)

    def __enter__(self) -> _Annotator:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._wait(0)
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _wait(self, leave: int) -> None:
        while len(self._pending) > leave:
            source, written = self._pending.popleft()
            try:
                written.result()
            except ImageError as error:
                self.failed.append((source.name, error.reason))
