"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc

from cvserve.client import messages
from cvserve.client.messages import Image, ModelInfo
from cvserve.errors import InvalidInput
from cvserve.postproc.results import ClassificationResult
from cvserve.protos import vision_pb2_grpc


class Client:
    """A connection to a server. Thread-safe.

    Example:
        with Client("localhost:8500") as client:
            print(client.classify("flowers", "photo.jpg").best.label)
    """

    def __init__(self, target: str, *, timeout: float | None = 30.0, connect_timeout: float = 5.0) -> None:
        """
        Args:
            target: `host:port`.
            timeout: seconds for one call, unless the call says otherwise; None waits for ever.
            connect_timeout: seconds of these to wait for a server that is not there yet, or not any more.
        """
        self.target = target
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._channel = grpc.insecure_channel(target, options=messages.CHANNEL_OPTIONS)
        self._stub = vision_pb2_grpc.VisionServiceStub(self._channel)

    def classify(
        self,
        model: str,
        image: Image,
        top_k: int | None = 5,
        version: int | None = None,
        timeout: float | None = None,
    ) -> ClassificationResult:
        """The best classes of one picture.

        Args:
            model: its name on the server.
            image: a path, encoded bytes (sent as they are), or a uint8 array [H, W], [H, W, 3] (RGB) or [H, W, 4].
            top_k: how many classes; None takes the model's default.
            version: None takes the newest.
            timeout: seconds; None takes the client's.

        Raises:
            ImageError, InvalidInput: the picture or a value cannot be used.
            NotFound: no such model, version or file.
            Unavailable: no server answers, or it is starting or stopping.
            Overloaded, DeadlineExceeded, FailedPrecondition
        """
        request = messages.classify_request(model, image, top_k, version)
        return messages.classification(self._call(self._stub.Classify, request, timeout))

    def classify_many(
        self,
        model: str,
        images: Iterable[Image],
        top_k: int | None = 5,
        version: int | None = None,
        timeout: float | None = None,
        concurrency: int = 16,
    ) -> Iterator[ClassificationResult]:
        """The classes of many pictures, in order, with `concurrency` of them under way at a time.

        Only about as many are read ahead, so `images` may be endless. See `classify` for the rest; the first failure
        is raised when its turn comes, and ends the iteration.
        """
        if concurrency < 1:
            raise InvalidInput(f"concurrency must be at least 1, not {concurrency}")
        return self._classify_many(model, images, top_k, version, timeout, concurrency)

    def _classify_many(
        self,
        model: str,
        images: Iterable[Image],
        top_k: int | None,
        version: int | None,
        timeout: float | None,
        concurrency: int,
    ) -> Iterator[ClassificationResult]:
        waiting: list[Future[ClassificationResult]] = []
        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="cvserve-client")
        try:
            for image in images:
                waiting.append(pool.submit(self.classify, model, image, top_k, version, timeout))
                if len(waiting) >= concurrency:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def model_info(self, model: str, version: int | None = None, timeout: float | None = None) -> ModelInfo:
        """What the server says of a model. See `classify` for the errors."""
        request = messages.info_request(model, version)
        return messages.model_info(self._call(self._stub.GetModelInfo, request, timeout))

    def close(self) -> None:
        """Ends the connection; calls under way are cancelled."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: Any, request: Any, timeout: float | None) -> Any:
        timeout = self._timeout if timeout is None else timeout
        started = time.monotonic()
        try:
            try:
                return method(request, timeout=timeout)
            except grpc.RpcError as error:
                if not messages.never_arrived(error):
                    raise
            # Nothing was answered, and asking again changes nothing on the server: wait for it, and try once more.
            left = None if timeout is None else timeout - (time.monotonic() - started)
            self._wait_for_server(self._connect_timeout if left is None else min(left, self._connect_timeout))
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
            return method(request, timeout=left)
        except grpc.RpcError as error:
            messages.raise_for(error, self.target, timeout)

    def _wait_for_server(self, seconds: float) -> None:
        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(timeout=max(0.0, seconds))
        except grpc.FutureTimeoutError as error:
            ready.cancel()
            raise messages.no_server(self.target) from error
