"""Served pictures a second against the in-process ceiling, in one run on one machine.

64 clients send JPEGs over loopback to a server in a process of its own. Compared, in interleaved rounds so that a
change of the machine's mood meets all of them:

    ceiling   the same pipeline (decode, resize, graph, postprocessing) in process, with the best of several layouts
              (parallel callers x threads of the graph x batch size) on the same cores
    on        the server with its defaults
    off       the server with batching switched off

    python benchmarks/serving_throughput.py --runtime onnx                      # a MobileNetV2 with random weights
    python benchmarks/serving_throughput.py models/flowers --runtime tensorflow --out results.json

The ratio that counts is on / ceiling (wanted: 0.85 or more), and on / off (1.5 or more wherever the graph itself
gains as much from batching; its own gain is printed beside it). Processor milliseconds a picture stand beside the
rates: they say where the difference goes, also while something else keeps the machine busy.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

BATCHES = (1, 2, 4, 8, 16, 32)
PICTURES = 32


def pictures(count: int = PICTURES) -> list[bytes]:
    """JPEGs of 500 x 375 that cost as much as photographs: 116 kB, 1.3 ms to decode, as the ImageNet photos that lie
    beside some checkouts (116 kB, 1.5 ms)."""
    import cv2

    random = np.random.default_rng(0)
    made = []
    for _ in range(count):
        picture = random.normal(128, 12, (375, 500, 1)).astype(np.float32).repeat(3, axis=2)
        for octave in (6, 24, 96):
            noise = random.normal(0, 400 / octave**0.8, (octave * 3 // 4, octave, 3)).astype(np.float32)
            picture += cv2.resize(noise, (500, 375), interpolation=cv2.INTER_CUBIC)
        pixels = np.clip(picture, 0, 255).astype(np.uint8)
        made.append(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    return made


def make_model(to: str) -> None:
    """Exports a MobileNetV2 of 224 x 224 with random weights, which cost as much as trained ones, to `to`."""
    import keras

    from cvserve.export import export_model
    from cvserve.models import create_model, default_preproc
    from cvserve.preproc import preprocess

    keras.utils.set_random_seed(0)
    preproc = default_preproc("classification", "mobilenet_v2", 224)
    export_model(
        create_model("classification", "mobilenet_v2", num_classes=1000, image_size=224),
        to,
        task="classification",
        labels=[f"class {index}" for index in range(1000)],
        preproc=preproc,
        parity_images=np.stack([preprocess(image, preproc)[0] for image in pictures(4)]),
        formats=("saved_model", "onnx"),
        on_step=say,
    )


# ---- in process -----------------------------------------------------------------------------------------------------


def ceiling_process(model: str, runtime: str, threads: int) -> None:
    """Answers lines of JSON on stdin: {"callers", "batch", "seconds", "graph_only"} -> {"rate", "cpu_ms"}."""
    from cvserve.pipeline import Pipeline

    pipeline = Pipeline.load(model, runtime=runtime, threads=threads)
    images = pictures()
    spec = pipeline.manifest.preproc
    answer({"ready": pipeline.runtime.name})
    for line in sys.stdin:
        order = json.loads(line)
        batch = order["batch"]
        noise = np.random.default_rng(0).integers(0, 256, (batch, spec.height, spec.width, 3), np.uint8)
        feed = pipeline.encode(noise)
        graph = feed if order["graph_only"] else None
        pipeline.runtime.run(feed)
        counts = [[0] for _ in range(order["callers"])]
        start, cpu = time.perf_counter(), time.process_time()
        end = start + order["seconds"]
        workers = [
            threading.Thread(target=caller, args=(pipeline, images, batch, graph, end, count)) for count in counts
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        total = sum(count[0] for count in counts)
        answer(
            {
                "rate": total / (time.perf_counter() - start),
                "cpu_ms": (time.process_time() - cpu) * 1000 / max(1, total),
            }
        )


def caller(
    pipeline: Any, images: list[bytes], batch: int, graph: dict[str, np.ndarray] | None, end: float, done: list[int]
) -> None:
    """Calls the pipeline, or with `graph` given just the graph, until `end`, and counts the pictures in done[0]."""
    source = itertools.cycle(images)
    while time.perf_counter() < end:
        if graph is not None:
            pipeline.runtime.run(graph)
        else:
            pipeline.run([pipeline.prepare(next(source)) for _ in range(batch)], top_k=5)
        done[0] += batch


# ---- clients --------------------------------------------------------------------------------------------------------


def client_process(name: str) -> None:
    """Answers lines of JSON on stdin: {"target", "clients", "seconds"} -> {"rate", "p50", "p95", "p99", "cpu_ms"}.

    Requests are serialised once and answers are not parsed, so that the clients cost little of the shared cores.
    """
    from cvserve.protos import vision_pb2

    requests = [
        vision_pb2.ClassifyRequest(model=vision_pb2.ModelSpec(name=name), image=image, top_k=5).SerializeToString()
        for image in pictures()
    ]
    answer({"ready": len(requests)})
    for line in sys.stdin:
        answer(asyncio.run(load(json.loads(line), requests)))


async def load(order: dict[str, Any], requests: list[bytes]) -> dict[str, float]:
    import grpc

    channels = [
        grpc.aio.insecure_channel(order["target"], options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(4)
    ]
    methods = [channel.unary_unary("/cvserve.v1.VisionService/Classify") for channel in channels]
    answered: list[float] = []
    calls = 0
    warm_until = time.perf_counter() + 1.0
    end = warm_until + order["seconds"]

    async def client(index: int) -> None:
        nonlocal calls
        call, source = methods[index % len(methods)], itertools.cycle(requests[index % len(requests) :] + requests)
        while (start := time.perf_counter()) < end:
            await call(next(source), timeout=60)
            calls += 1
            if warm_until <= (now := time.perf_counter()) <= end:
                answered.append(now - start)

    tasks = [asyncio.ensure_future(client(index)) for index in range(order["clients"])]
    await asyncio.sleep(warm_until - time.perf_counter())
    cpu = time.process_time()
    await asyncio.sleep(end - time.perf_counter())
    cpu = time.process_time() - cpu
    await asyncio.gather(*tasks)
    for channel in channels:
        await channel.close()
    if not answered:
        raise SystemExit(f"nothing was answered in {order['seconds']} s")
    p50, p95, p99 = np.percentile(answered, (50, 95, 99)) * 1000
    return {
        "rate": len(answered) / order["seconds"],
        "p50": float(p50),
        "p95": float(p95),
        "p99": float(p99),
        "cpu_ms": cpu * 1000 / len(answered),
        "calls": calls,
    }


# ---- the run --------------------------------------------------------------------------------------------------------


def answer(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


class Helper:
    """This file as another process, which is told what to do line by line."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise SystemExit(f"{self.process.args!r} ended with {self.process.wait()}")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class ServerProcess:
    """`serve` in a process of its own."""

    def __init__(self, model: str, **settings: Any) -> None:
        code = "import sys, json; from cvserve.serving import serve; serve(sys.argv[1], json.loads(sys.argv[2]))"
        settings |= {"host": "127.0.0.1", "port": 0}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, model, json.dumps(settings)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if line.startswith("ready"):
                self.target = line.split()[-1]
                return
        raise SystemExit(f"the server did not start: {self.lines}")

    def cpu_seconds(self) -> float:
        """User and system time so far (Linux)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        """Proportional set size (Linux)."""
        for line in Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)


@dataclass(frozen=True)
class Layout:
    """callers: threads that call the pipeline. threads: of the graph. batch: pictures a call."""

    callers: int
    threads: int
    batch: int

    def __str__(self) -> str:
        return f"{self.callers} callers x {self.threads} threads, batch {self.batch}"


def run(model: str, runtime: str, rounds: int, seconds: float, clients: int, served: dict[str, Any]) -> dict[str, Any]:
    from cvserve.serving.core.repository import find

    name = find(model)[0].name
    directory = str(find(model)[0].directory)
    cores = len(os.sched_getaffinity(0))
    widths = sorted({1, cores})
    inside = {threads: Helper("--ceiling", directory, runtime, str(threads)) for threads in widths}
    servers = {
        "on": ServerProcess(model, runtime=runtime, **served),
        "off": ServerProcess(model, runtime=runtime, **(served | {"batching": False})),
    }
    for line in servers["on"].lines:
        say(line)
    generator = Helper("--client", name)

    def ceiling(layout: Layout, seconds: float, graph_only: bool = False) -> dict[str, Any]:
        return inside[layout.threads].ask(
            callers=layout.callers, batch=layout.batch, seconds=seconds, graph_only=graph_only
        )

    layouts = [
        Layout(callers, threads, batch)
        for threads in widths
        for callers in sorted({1, cores})
        for batch in BATCHES
        if callers * threads >= cores
    ]
    screened = {layout: ceiling(layout, seconds / 4)["rate"] for layout in layouts}
    best = sorted(screened, key=lambda layout: screened[layout], reverse=True)[:3]
    say("in process, screening: " + ", ".join(f"[{layout}] {screened[layout]:.0f}/s" for layout in best))
    graph = {
        (callers, batch): ceiling(Layout(callers, 1, batch), seconds / 4, graph_only=True)["rate"]
        for callers in (cores,)
        for batch in BATCHES
    }
    own_gain = max(graph.values()) / graph[cores, 1]
    say("graph alone, pictures/s by batch: " + ", ".join(f"{batch}: {rate:.0f}" for (_, batch), rate in graph.items()))

    inside_rounds: dict[Layout, list[dict[str, Any]]] = {layout: [] for layout in best}
    served_rounds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in servers}
    for number in range(rounds):
        for layout in best:
            inside_rounds[layout].append(ceiling(layout, seconds / len(best)))
        for kind, server in servers.items():
            cpu = server.cpu_seconds()
            figures = generator.ask(target=server.target, clients=clients, seconds=seconds)
            # For all of its calls, those before and after the measured time too.
            figures["server_cpu_ms"] = (server.cpu_seconds() - cpu) * 1000 / figures["calls"]
            served_rounds[kind].append(figures)
        top = max(inside_rounds, key=lambda layout: inside_rounds[layout][-1]["rate"])
        say(
            f"round {number + 1}: ceiling {inside_rounds[top][-1]['rate']:.0f}/s, "
            + ", ".join(f"{kind} {figures[-1]['rate']:.0f}/s" for kind, figures in served_rounds.items())
        )
    memory = {kind: server.memory_mib() for kind, server in servers.items()}
    for helper in (*inside.values(), generator):
        helper.close()
    for server in servers.values():
        server.close()

    def middle(figures: Sequence[dict[str, Any]], key: str) -> float:
        return float(statistics.median(figure[key] for figure in figures))

    def ratio(above: Sequence[dict[str, Any]], below: Sequence[dict[str, Any]]) -> float:
        """The middle one of the rounds' own ratios: what slows a whole round down falls out."""
        return float(statistics.median(a["rate"] / b["rate"] for a, b in zip(above, below, strict=True)))

    top = max(inside_rounds, key=lambda layout: middle(inside_rounds[layout], "rate"))
    inside_top, on, off = inside_rounds[top], served_rounds["on"], served_rounds["off"]
    ceiling_cpu = middle(inside_top, "cpu_ms")
    rows = {
        kind: {key: middle(figures, key) for key in figures[0]} | {"memory_mib": memory[kind]}
        for kind, figures in served_rounds.items()
    }
    return {
        "model": name,
        "runtime": runtime,
        "cores": cores,
        "clients": clients,
        "seconds": seconds,
        "rounds": rounds,
        "server": servers["on"].lines,
        "ceiling": {"layout": asdict(top), "rate": middle(inside_top, "rate"), "cpu_ms": ceiling_cpu},
        "served": rows,
        "served_to_ceiling": ratio(on, inside_top),
        "served_to_ceiling_by_cpu": ceiling_cpu / (rows["on"]["server_cpu_ms"] + rows["on"]["cpu_ms"]),
        "on_to_off": ratio(on, off),
        "own_gain_of_the_graph": own_gain,
        "pipeline_gain": max(screened.values()) / max(screened[layout] for layout in layouts if layout.batch == 1),
        "in_rounds": {
            "ceiling": [figure["rate"] for figure in inside_top],
            **{kind: [figure["rate"] for figure in figures] for kind, figures in served_rounds.items()},
        },
    }


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    top = result["ceiling"]
    lines = [
        f"{result['model']}, {result['runtime']}, {result['cores']} cores, {result['clients']} clients, "
        f"{result['rounds']} rounds of {result['seconds']:g} s",
        f"{'':22}{'pictures/s':>11}{'p50 ms':>8}{'p95':>8}{'p99':>8}{'CPU ms':>9}{'client':>8}{'PSS MiB':>9}",
        f"{'in-process ceiling':22}{top['rate']:>11.1f}{'':>24}{top['cpu_ms']:>9.2f}      ({Layout(**top['layout'])})",
    ]
    for kind, row in result["served"].items():
        lines.append(
            f"{'served, batching ' + kind:22}{row['rate']:>11.1f}{row['p50']:>8.0f}{row['p95']:>8.0f}{row['p99']:>8.0f}"
            f"{row['server_cpu_ms']:>9.2f}{row['cpu_ms']:>8.2f}{row['memory_mib']:>9.0f}"
        )
    lines.append(
        f"served / ceiling {result['served_to_ceiling']:.3f} (wanted: 0.85); "
        f"{result['served_to_ceiling_by_cpu']:.3f} by processor time, the clients' included"
    )
    lines.append(
        f"on / off {result['on_to_off']:.2f}; the graph itself gains {result['own_gain_of_the_graph']:.2f} "
        f"from batching, the whole pipeline {result['pipeline_gain']:.2f}"
    )
    return "\n".join(lines)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--ceiling"]:
        return ceiling_process(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    if sys.argv[1:2] == ["--client"]:
        return client_process(sys.argv[2])
    if sys.argv[1:2] == ["--make"]:
        return make_model(sys.argv[2])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a model's directory; without it a MobileNetV2 is made")
    parser.add_argument("--runtime", default="onnx", choices=["onnx", "tensorflow", "litert"])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement in a round")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of both servers")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    arguments = parser.parse_args()
    from cvserve.settings import with_overrides

    with tempfile.TemporaryDirectory() as directory:
        if arguments.model is None:
            arguments.model = f"{directory}/mobilenet_v2"
            # In a process of its own: TensorFlow's threads would stay.
            subprocess.run([sys.executable, __file__, "--make", arguments.model], check=True)
        result = run(
            arguments.model,
            arguments.runtime,
            arguments.rounds,
            arguments.seconds,
            arguments.clients,
            with_overrides({}, arguments.set),
        )
    print(table(result))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    return None


if __name__ == "__main__":
    main()
