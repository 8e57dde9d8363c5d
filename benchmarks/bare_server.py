"""Serves `cvserve.v1` Classify with as little code as batching needs, and measures `cvserve serve` against it.

    python benchmarks/serving_throughput.py --make models/mobilenet_v2       # a MobileNetV2 with random weights
    python benchmarks/bare_server.py models/mobilenet_v2 --out bare.json     # both servers in turns; a table
    python benchmarks/bare_server.py models/mobilenet_v2 --serve             # the bare server alone

The bare server is the yardstick: grpc.aio, a pool that decodes, and batchers of one thread that share one queue. It has
no deadlines, no bounds, no metrics and one model, so the difference between the two is what all of these cost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc

from cvserve import artifact as artifacts
from cvserve.bench.clients import Clients
from cvserve.bench.images import write_images
from cvserve.bench.processes import ServerProcess
from cvserve.pipeline import Pipeline, Prepared
from cvserve.protos import vision_pb2

Waiting = tuple[Prepared, "asyncio.Future[Any]"]


class Batchers:
    """Runs queued images: each thread has its own copy of the graph and takes up to `batch` images at a time."""

    def __init__(self, path: str, runtime: str, count: int, batch: int, loop: asyncio.AbstractEventLoop) -> None:
        self.pipelines = [Pipeline.load(path, runtime=runtime, threads=1) for _ in range(count)]
        self.queue: queue.SimpleQueue[Waiting] = queue.SimpleQueue()
        self._batch, self._loop = batch, loop
        for pipeline in self.pipelines:
            threading.Thread(target=self._work, args=(pipeline,), daemon=True).start()

    def _work(self, pipeline: Pipeline) -> None:
        while True:
            batch = [self.queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < self._batch:
                    batch.append(self.queue.get_nowait())
            try:
                results: Any = pipeline.run([prepared for prepared, _ in batch])
            except Exception as error:  # noqa: BLE001 - each caller gets it
                results = [error] * len(batch)
            self._loop.call_soon_threadsafe(self._answer, batch, results)

    @staticmethod
    def _answer(batch: list[Waiting], results: list[Any]) -> None:
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():  # else its client has gone
                (future.set_exception if isinstance(result, Exception) else future.set_result)(result)


async def serve(path: str, runtime: str, count: int, batch: int) -> None:
    """Serves until the process is stopped; prints `ready: gRPC on HOST:PORT` as `cvserve serve` does."""
    loop = asyncio.get_running_loop()
    batchers = Batchers(path, runtime, count, batch, loop)
    decoders = ThreadPoolExecutor(count)

    async def classify(request: Any, context: Any) -> Any:
        prepared = await loop.run_in_executor(decoders, batchers.pipelines[0].prepare, request.image)
        future: asyncio.Future[Any] = loop.create_future()
        batchers.queue.put((prepared, future))
        best = (await future).classes[: request.top_k or None]
        classes = [vision_pb2.ClassScore(label=each.label, index=each.index, score=each.score) for each in best]
        return vision_pb2.ClassifyResponse(model=request.model, classes=classes)

    method = grpc.unary_unary_rpc_method_handler(
        classify, vision_pb2.ClassifyRequest.FromString, vision_pb2.ClassifyResponse.SerializeToString
    )
    server = grpc.aio.server()
    service = grpc.method_handlers_generic_handler("cvserve.v1.VisionService", {"Classify": method})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready: gRPC on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Starts both servers with the same runtime, instances, threads and batch, and loads them in turns.

    Returns:
        A row for each server and number of clients, {"server", "clients", "rate", "p50", "p99"}: answers a second and
        milliseconds, each the median of the turns.
    """
    artifact = artifacts.read(options.model)
    common = {"runtime": options.runtime, "instances": options.instances, "threads": 1, "max_batch_size": options.batch}
    turns: dict[tuple[str, int], list[dict[str, float]]] = {}
    with ExitStack() as stack:
        images = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "images"
        write_images(images)
        served = stack.enter_context(ServerProcess(artifact.directory, common))
        bare = subprocess.Popen([sys.executable, *sys.argv, "--serve"], stdout=subprocess.PIPE, text=True)
        stack.callback(bare.kill)
        targets = {"bare": bare.stdout.readline().split()[-1], "cvserve": served.target}
        clients = Clients(artifact.manifest.name, images)
        stack.callback(clients.close)
        for _ in range(options.turns):
            for count, name in itertools.product(options.clients, targets):
                turns.setdefault((name, count), []).append(clients.waiting(targets[name], count, options.seconds, 0.5))
    rows: list[dict[str, Any]] = []
    for (name, count), measured in turns.items():
        medians = {key: statistics.median(each[key] for each in measured) for key in ("rate", "p50", "p99")}
        rows.append({"server": name, "clients": count, **medians})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a directory of an artifact that classifies")
    parser.add_argument("--serve", action="store_true", help="be the bare server")
    parser.add_argument("--runtime", default="onnx", choices=["onnx", "tensorflow", "litert"])
    parser.add_argument("--instances", type=int, default=2, help="copies of the graph, a thread each")
    parser.add_argument("--batch", type=int, default=16, help="the largest batch")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64], metavar="N")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.model, options.runtime, options.instances, options.batch))
        return
    rows = measure(options)
    print(f"{'clients':>8} {'server':<8} {'rate':>8} {'p50 ms':>8} {'p99 ms':>8}")
    for row in rows:
        print(f"{row['clients']:>8} {row['server']:<8} {row['rate']:>8.1f} {row['p50']:>8.1f} {row['p99']:>8.1f}")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
