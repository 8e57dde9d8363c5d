"""One version of a model, ready to answer."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cvserve.artifact import Manifest
from cvserve.errors import FailedPrecondition, ImageError, InvalidInput
from cvserve.pipeline import Pipeline
from cvserve.postproc.results import ClassificationResult
from cvserve.preproc.geometry import Geometry
from cvserve.serving.core.batch_policy import BatchLimits
from cvserve.serving.core.batcher import Batcher, Fail, Give, GiveUp, QueueBounds
from cvserve.serving.core.decode_pool import DecodePool
from cvserve.serving.core.execution import RunGraph, Tensors
from cvserve.serving.core.mailbox import Mailbox
from cvserve.serving.core.signatures import BYTES, DEFAULT, IMAGE_BYTES, Signature, signatures_of
from cvserve.serving.core.worker import Worker

DECODED_BY_WORKER_BYTES = 1 << 20
"""Larger pictures go through the pool all the same, since the others of their batch would wait for them."""


@dataclass(frozen=True)
class LoadedModel:
    """A model whose graphs are open and warm; nothing of it is tied to the event loop yet.

    pipelines: one for each loaded copy of the graph. workers: batches that run at the same time; where copies are
    fewer, they are shared (runtimes whose calls may run at the same time need only one). decodes_in_worker: pictures
    are decoded by the worker that runs them rather than by the pool; right where every core has a worker.
    """

    pipelines: tuple[Pipeline, ...]
    workers: int
    threads: int
    limits: BatchLimits
    bounds: QueueBounds
    max_request_rows: int
    decodes_in_worker: bool = False

    @property
    def manifest(self) -> Manifest:
        return self.pipelines[0].manifest

    @property
    def graphs(self) -> list[RunGraph]:
        """What each worker runs."""
        return [self.pipelines[index % len(self.pipelines)].runtime.run for index in range(self.workers)]

    def describe(self) -> str:
        """`onnx, 2 instances x 1 thread, batches up to 4, delay 0 ms`"""
        batches = f"batches up to {self.limits.max_rows}" if self.limits.batching else "no batching"
        return (
            f"{self.pipelines[0].runtime.name}, {_count(self.workers, 'instance')} x {_count(self.threads, 'thread')}, "
            f"{batches}, delay {self.limits.delay * 1000:g} ms"
        )

    def close(self) -> None:
        """Gives the memory back."""
        for pipeline in self.pipelines:
            pipeline.close()


class Servable:
    """Answers requests for one version of a model. Used from the loop's thread only."""

    def __init__(self, name: str, version: int, model: LoadedModel, decode: DecodePool, mailbox: Mailbox) -> None:
        self.name = name
        self.version = version
        self.model = model
        self.manifest = model.manifest
        self._pipeline = model.pipelines[0]
        self._decode = decode
        self._workers = [Worker(graph, f"{name}-{version}-{index}") for index, graph in enumerate(model.graphs)]
        self.batcher = Batcher(self._workers, model.limits, model.bounds, mailbox, name=f"model {name!r}")
        self.signatures = signatures_of(self._pipeline.runtime, self.manifest)
        # What postprocessing reads; None where it is all there is, so that these requests share batches with Predict.
        names = tuple(output.name for output in self.manifest.outputs)
        spec = self.manifest.preproc
        self._empty = self._pipeline.encode(np.empty((0, spec.height, spec.width, 3), np.uint8))
        self._result_outputs = None if set(names) == set(self._pipeline.runtime.outputs) else names

    @property
    def runtime_name(self) -> str:
        return self._pipeline.runtime.name

    def signature(self, name: str) -> Signature:
        """The signature called `name`; an empty name is the default one.

        Raises:
            FailedPrecondition: there is none, in TensorFlow Serving's words.
        """
        found = self.signatures.get(name or DEFAULT)
        if found is None:
            raise FailedPrecondition(f'Serving signature key "{name}" not found.')
        return found

    async def predict(
        self,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        *,
        deadline: float = math.inf,
    ) -> Tensors:
        """Tensors in, tensors out.

        Args:
            deadline: in the loop's time.

        Raises:
            InvalidInput: names, dtypes, shapes or pictures that the model does not take.
            Overloaded, Unavailable, DeadlineExceeded
        """
        signature.check_inputs(inputs)
        outputs = signature.check_outputs(output_filter)
        if signature.name == BYTES:
            inputs = await self._decode_all(inputs[IMAGE_BYTES], deadline)
        self._check_rows(max((len(array) for array in inputs.values() if array.ndim), default=1))
        answer: Tensors = await self.batcher.run(dict(inputs), signature=DEFAULT, outputs=outputs, deadline=deadline)
        return answer

    async def classify(
        self, image: bytes, top_k: int | None = None, *, deadline: float = math.inf
    ) -> ClassificationResult:
        """One encoded picture to its best classes.

        Args:
            top_k: how many; None takes the model's default.
            deadline: in the loop's time.

        Raises:
            FailedPrecondition: the model does something else.
            ImageError: the picture cannot be used.
            Overloaded, Unavailable, DeadlineExceeded
        """
        if self.manifest.task != "classification":
            raise FailedPrecondition(f"model {self.name!r} does {self.manifest.task}, not classification")
        if top_k is not None and top_k < 1:
            raise InvalidInput(f"top_k must be at least 1, not {top_k}")
        if not image:
            raise ImageError("image", "it is empty")
        geometries: list[Geometry] = []

        def finish(outputs: Tensors) -> object:
            return self._pipeline.finish(outputs, geometries, top_k=top_k)[0]

        if self.model.decodes_in_worker and len(image) <= DECODED_BY_WORKER_BYTES:

            def make_here() -> Tensors:
                tensors, geometry = self._prepare(image, "image")
                geometries.append(geometry)
                return tensors

            made: ClassificationResult = await self.batcher.run_made_by_worker(
                make_here,
                self._empty,
                size=len(image),
                signature=DEFAULT,
                outputs=self._result_outputs,
                deadline=deadline,
                finish=finish,
            )
            return made

        def make(give: Give, fail: Fail) -> GiveUp:
            def done(prepared: tuple[Tensors, Geometry]) -> None:
                geometries.append(prepared[1])
                give(prepared[0])

            work = functools.partial(self._prepare, image, "image")
            return self._decode.start(work, done, fail, size=len(image)).give_up

        result: ClassificationResult = await self.batcher.run_when_made(
            make, signature=DEFAULT, outputs=self._result_outputs, deadline=deadline, finish=finish
        )
        return result

    def close(self) -> None:
        """Ends the threads and gives the memory back; waits for what runs. Not to be called on the loop's thread."""
        for worker in self._workers:
            worker.end()
        for worker in self._workers:
            worker.join()
        self.model.close()

    def _prepare(self, image: bytes, name: str) -> tuple[Tensors, Geometry]:
        prepared = self._pipeline.prepare(image, name)
        return self._pipeline.encode(prepared.pixels[np.newaxis]), prepared.geometry

    async def _decode_all(self, images: np.ndarray, deadline: float) -> Tensors:
        """Encoded pictures [B] to the graph's inputs, at most as many at a time as the pool has threads, so that one
        large request does not fill the pool's queue."""
        if images.ndim != 1 or not len(images):
            raise InvalidInput(f"input {IMAGE_BYTES!r} must be a vector of pictures, not of shape {list(images.shape)}")
        self._check_rows(len(images))
        spec = self.manifest.preproc
        # As large as the pixels; floats are four times that, which the batcher counts when they are there.
        self.batcher.check_room(len(images) * spec.height * spec.width * 3)
        rows: list[Tensors | None] = [None] * len(images)
        remaining = iter(enumerate(images))

        async def decode_some() -> None:
            for index, image in remaining:
                name = f"image {index}"
                if not image:
                    raise ImageError(name, "it is empty")
                work = functools.partial(self._prepare, bytes(image), name)
                rows[index], _ = await self._decode.run(work, size=len(image), deadline=deadline)

        tasks = [asyncio.ensure_future(decode_some()) for _ in range(min(len(images), self._decode.workers))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        done = [row for row in rows if row is not None]
        return {name: np.concatenate([row[name] for row in done]) for name in done[0]}

    def _check_rows(self, rows: int) -> None:
        if rows > self.model.max_request_rows:
            raise InvalidInput(
                f"the request has {rows} rows; model {self.name!r} takes at most {self.model.max_request_rows}"
            )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
