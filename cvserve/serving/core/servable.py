"""One version of a model, ready to answer."""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cvserve.artifact import Manifest
from cvserve.errors import FailedPrecondition, ImageError, InvalidInput, Overloaded
from cvserve.pipeline import Pipeline
from cvserve.postproc import DEFAULT_OPTIONS, Options, Result
from cvserve.preproc.decode import MAX_PIXELS
from cvserve.preproc.geometry import Geometry
from cvserve.serving.core.batching.execution import Tensors
from cvserve.serving.core.batching.queue import BatchQueue, Fail, Give, GiveUp
from cvserve.serving.core.batching.worker import Worker
from cvserve.serving.core.decode_pool import DecodePool
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.loop_callbacks import LoopCallbacks
from cvserve.serving.core.observer import TRACE, Observer, VersionReport
from cvserve.serving.core.signatures import BYTES, DEFAULT, DETECT, IMAGE_BYTES, Signature, signatures_of

DECODED_BY_WORKER_BYTES = 1 << 20
"""Larger images are decoded by the pool in any case, since the other requests of their batch would wait for them."""


class Servable:
    """Answers requests for one version of a model. Used from the loop's thread only."""

    def __init__(
        self,
        name: str,
        version: int,
        model: LoadedModel,
        decode: DecodePool,
        callbacks: LoopCallbacks,
        observer: Observer | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """
        Args:
            name, version: the name of the model and the number of the version.
            model: the model, whose graphs are open.
            decode: decodes the images that workers do not decode.
            callbacks: run on the loop what the workers hand over.
            observer: is notified of what happens to requests.
            max_pixels: encoded images with more are refused.
        """
        self.name = name
        self.version = version
        self.model = model
        self.manifest = model.manifest
        self._pipeline = model.pipelines[0] if model.pipelines else None
        self._max_pixels = max_pixels
        self._decode = decode
        self._workers = [Worker(graph, f"{name}-{version}-{index}") for index, graph in enumerate(model.graphs)]
        self._report = VersionReport(observer or Observer(), name, version)
        self.queue = BatchQueue(
            self._workers, model.limits, model.bounds, callbacks, name=f"model {name!r}", report=self._report
        )
        self.signatures: Mapping[str, Signature] = model.signatures
        if self._pipeline is not None:
            detect = model.detect[0] if model.detect else None
            self.signatures = signatures_of(self._pipeline.runtime, self._pipeline.manifest, detect)
            # The outputs that postprocessing reads; None where these are all outputs of the graph, so that these
            # requests share batches with Predict.
            names = tuple(output.name for output in self._pipeline.manifest.outputs)
            spec = self._pipeline.manifest.preproc
            self._empty = self._pipeline.encode(np.empty((0, spec.height, spec.width, 3), np.uint8))
            self._result_outputs = None if set(names) == set(self._pipeline.runtime.outputs) else names

    @property
    def runtime_name(self) -> str:
        """The runtime that runs the graphs."""
        return self.model.runtime_name

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline that turns images into results.

        Raises:
            FailedPrecondition: the model takes tensors only.
        """
        if self._pipeline is None:
            raise FailedPrecondition(
                f"model {self.name!r} has no cvserve manifest, so it takes tensors (Predict) and no images; make it "
                "an artifact with cvserve import"
            )
        return self._pipeline

    def signature(self, name: str) -> Signature:
        """Returns the signature called `name`; an empty name is the default one.

        Raises:
            FailedPrecondition: there is none, in TensorFlow Serving's words.
        """
        signature = self.signatures.get(name or DEFAULT)
        if signature is None:
            hint = ""
            if name == DETECT and self.manifest is not None and any(graph.detect for graph in self.manifest.graphs):
                hint = (
                    f" Model {self.name!r} has it in its SavedModel, and is run by {self.runtime_name} here: "
                    "serve it with the runtime tensorflow."
                )
            raise FailedPrecondition(f'Serving signature key "{name or DEFAULT}" not found.{hint}')
        return signature

    async def predict(
        self,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        *,
        deadline: float = math.inf,
    ) -> Tensors:
        """Runs a signature on tensors.

        Args:
            signature: one of `signatures`.
            inputs: by name.
            output_filter: names of the outputs that are wanted; empty for all.
            deadline: in the loop's time.

        Raises:
            InvalidInput: names, dtypes, shapes or images that the model does not take.
            Overloaded, Unavailable, DeadlineExceeded
        """
        tensors = signature.complete(inputs)
        outputs = signature.check_outputs(output_filter)
        entry = signature.name
        if self._pipeline is not None:
            entry = DETECT if signature.name == DETECT else DEFAULT
            if signature.name == BYTES:
                tensors = await self._decode_all(tensors[IMAGE_BYTES], deadline)
        alone = not signature.has_rows(tensors)
        if not alone:
            self._check_rows(max((len(array) for array in tensors.values() if array.ndim), default=1))
        answer: Tensors = await self.queue.run(
            tensors, signature=entry, outputs=outputs, deadline=deadline, alone=alone
        )
        return answer

    async def answer(
        self,
        image: bytes,
        options: Options = DEFAULT_OPTIONS,
        *,
        check: Callable[[Manifest], None] | None = None,
        deadline: float = math.inf,
        encode: Callable[[Result], Any] | None = None,
    ) -> Any:
        """Returns the result for one encoded image, whatever the task of the model is.

        Args:
            image: an encoded image.
            options: what the result is to hold.
            check: raises an error if the request does not fit the model with this manifest; called before the image
                is read.
            deadline: in the loop's time.
            encode: called with the result on the worker's thread, for work that would block the loop. What it returns
                is the answer.

        Returns:
            The result, or what `encode` returned.

        Raises:
            FailedPrecondition: the model has no manifest. Whatever `check` raises.
            ImageError: the image cannot be used.
            Overloaded, Unavailable, DeadlineExceeded
        """
        pipeline = self.pipeline
        if check is not None:
            check(pipeline.manifest)
        if not image:
            raise ImageError("image", "it is empty")
        geometries: list[Geometry] = []

        def finish(outputs: Tensors) -> object:
            result = pipeline.finish(outputs, geometries, options)[0]
            return result if encode is None else encode(result)

        if self.model.decodes_in_worker and len(image) <= DECODED_BY_WORKER_BYTES:

            def make_here() -> Tensors:
                tensors, geometry = self._prepare(image, "image")
                geometries.append(geometry)
                return tensors

            return await self.queue.run_made_by_worker(
                make_here,
                self._empty,
                size=len(image),
                signature=DEFAULT,
                outputs=self._result_outputs,
                deadline=deadline,
                finish=finish,
            )

        def make(give: Give, fail: Fail) -> GiveUp:
            def done(prepared: tuple[Tensors, Geometry]) -> None:
                geometries.append(prepared[1])
                give(prepared[0])

            work = functools.partial(self._prepare, image, "image")
            return self._decode.start(work, done, fail, size=len(image)).give_up

        return await self.queue.run_when_made(
            make, signature=DEFAULT, outputs=self._result_outputs, deadline=deadline, finish=finish
        )

    def close(self) -> None:
        """Ends the threads and frees the memory. Waits for running batches, so it must not be called on the loop's
        thread."""
        for worker in self._workers:
            worker.end()
        for worker in self._workers:
            worker.join()
        self.model.close()

    def _prepare(self, image: bytes, name: str) -> tuple[Tensors, Geometry]:
        began = time.monotonic()
        prepared = self.pipeline.prepare(image, name, max_pixels=self._max_pixels)
        tensors = self.pipeline.encode(prepared.pixels[np.newaxis])
        self._report.stage("decode", time.monotonic() - began)
        return tensors, prepared.geometry

    async def _decode_all(self, images: np.ndarray, deadline: float) -> Tensors:
        """Decodes images [B] to the graph's inputs, at most as many at a time as the pool has threads, so that one
        large request does not fill the pool's queue."""
        if images.ndim != 1 or not len(images):
            raise InvalidInput(f"input {IMAGE_BYTES!r} must be a vector of images, not of shape {list(images.shape)}")
        self._check_rows(len(images))
        spec = self.pipeline.manifest.preproc
        # One byte for each value. Floats take four times as much, which the queue counts once they are made.
        self.queue.check_room(len(images) * spec.height * spec.width * 3, deadline)
        rows: list[Tensors | None] = [None] * len(images)
        remaining = iter(enumerate(images))

        async def decode_some() -> None:
            for index, image in remaining:
                name = f"image {index}"
                if not image:
                    raise ImageError(name, "it is empty")
                work = functools.partial(self._prepare, bytes(image), name)
                rows[index], _ = await self._decode.run(work, size=len(image), deadline=deadline)

        trace, began = TRACE.get(), time.monotonic()
        tasks = [asyncio.ensure_future(decode_some()) for _ in range(min(len(images), self._decode.workers))]
        try:
            await asyncio.gather(*tasks)
        except Overloaded:
            self._report.rejected("decode full")
            raise
        finally:
            for task in tasks:
                task.cancel()
        if trace is not None:
            trace("decode", began, time.monotonic())
        done = [row for row in rows if row is not None]
        return {name: np.concatenate([row[name] for row in done]) for name in done[0]}

    def _check_rows(self, rows: int) -> None:
        if rows > self.model.max_request_rows:
            raise InvalidInput(
                f"the request has {rows} rows; model {self.name!r} takes at most {self.model.max_request_rows}"
            )
