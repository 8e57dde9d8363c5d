"""Sends requests while versions are switched: none may fail or be answered by a version that is not available.

Clients ask a server for the newest version without a pause, while new versions are published one after the other; the
server loads each and unloads the one before. Each version of the model that is made here returns its own number, which
shows the graph that answered, beside the version that the server reports.

    python benchmarks/version_switches.py                                  # 10,000 requests, 50 switches
    python benchmarks/version_switches.py --model models/flowers --runtime tensorflow --out switches.json

An answer is wrong when its version was not yet available when the answer came, or was being unloaded already when the
request was sent, by the server's own record of its states. Resident memory is that of the server's process; after the
last switch it should be within 10 % of what it was before the first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.artifact import Artifact, Graph, Manifest, OutputSpec, PreprocSpec, Provenance, file_entry, publish, read
from cvserve.serving.core.observer import Observer

SIZE = 32
CLASSES = 64
"""Versions answer their number modulo this."""

POLL_SECONDS = 0.1


# ---- models


def publish_numbered(model_directory: Path) -> Artifact:
    """Publishes the next version of a small ONNX model whose best class is its own version modulo CLASSES."""
    from onnx import TensorProto, helper

    def build(directory: Path, version: int) -> Manifest:
        scores = np.zeros(CLASSES, np.float32)
        scores[version % CLASSES] = 10
        weights = np.random.default_rng(version).normal(0, 1e-6, (3, CLASSES)).astype(np.float32)
        graph = helper.make_graph(
            [
                helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
                helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
                helper.make_node("MatMul", ["mean", "weights"], ["noise"]),
                helper.make_node("Add", ["noise", "scores"], ["logits"]),
                helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
            ],
            "numbered",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES])],
            [
                helper.make_tensor("scores", TensorProto.FLOAT, [CLASSES], scores),
                helper.make_tensor("weights", TensorProto.FLOAT, [3, CLASSES], weights.reshape(-1)),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = directory / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return Manifest(
            name=model_directory.name,
            version=version,
            task="classification",
            labels=tuple(map(str, range(CLASSES))),
            preproc=PreprocSpec(height=SIZE, width=SIZE, resize="exact"),
            outputs=(OutputSpec(name="probabilities", role="probabilities", shape=(CLASSES,)),),
            graphs=(Graph(format="onnx", files=(file_entry(directory, path),)),),
            provenance=Provenance(architecture="numbered", created="2026-01-01T00:00:00Z"),
        )

    return publish(model_directory, build)


def publish_again(model_directory: Path, original: Artifact) -> Artifact:
    """Publishes a copy of an artifact as the next version."""

    def build(directory: Path, version: int) -> Manifest:
        shutil.copytree(original.directory, directory, dirs_exist_ok=True)
        return original.manifest.model_copy(update={"name": model_directory.name, "version": version})

    return publish(model_directory, build)


def image() -> bytes:
    """A JPEG of SIZE x SIZE."""
    import cv2

    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


# ---- what was live when


class Lives(Observer):
    """When each version became available, and when it was taken out of use; time.monotonic() of any process."""

    def __init__(self) -> None:
        self.available: dict[int, float] = {}
        self.unloading: dict[int, float] = {}
        self.ended: set[int] = set()

    def state(self, model: str, version: int, state: str) -> None:
        self.note(version, state, time.monotonic())

    def note(self, version: int, state: str, when: float) -> None:
        if state == "AVAILABLE":
            self.available[version] = when
        elif state == "UNLOADING":
            self.unloading[version] = when
        elif state == "END":
            self.ended.add(version)

    def was_live(self, version: int, sent: float, answered: float) -> bool:
        """Whether a request of that time may have been given that version."""
        began, ended = self.available.get(version, float("inf")), self.unloading.get(version, float("inf"))
        return began <= answered and sent <= ended


class Printed(Observer):
    """Prints the states of versions, for the process that started the server."""

    def state(self, model: str, version: int, state: str) -> None:
        print(json.dumps({"version": version, "state": state, "at": time.monotonic()}), flush=True)


# ---- clients


@dataclass
class Answers:
    """What came back. asked: [sent, answered, version, best class] of each request. failures: texts."""

    asked: list[tuple[float, float, int, int]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def wrong(self, lives: Lives, *, numbered: bool) -> list[str]:
        """The answers of versions that were not live, or of another version than they say."""
        found = []
        for sent, answered, version, best in self.asked:
            if not lives.was_live(version, sent, answered):
                found.append(f"version {version} answered, which was not live")
            elif numbered and best != version % CLASSES:
                found.append(f"version {version} is said to have answered, but the answer is {best}'s")
        return found


async def ask(address: str, name: str, clients: int, answers: Answers, until: Callable[[], bool]) -> None:
    """Asks for the newest version without a pause until `until` says so."""
    import grpc

    from cvserve.protos import vision_pb2, vision_pb2_grpc

    request = vision_pb2.ClassifyRequest(model=vision_pb2.ModelSpec(name=name), image=image(), top_k=1)

    async def client(stub: Any) -> None:
        while not until():
            sent = time.monotonic()
            try:
                answer = await stub.Classify(request, timeout=60)
            except grpc.aio.AioRpcError as error:
                answers.failures.append(f"{error.code().name}: {error.details()}")
            else:
                answers.asked.append((sent, time.monotonic(), answer.model.version, answer.classes[0].index))

    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.gather(*(client(vision_pb2_grpc.VisionServiceStub(channel)) for _ in range(clients)))


@dataclass
class Switches:
    """How it went. seconds: from publishing a version to its first use, for each switch. resident: MiB after each."""

    answers: Answers
    seconds: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)


async def switch_under_load(
    address: str,
    name: str,
    publish_next: Callable[[], Artifact],
    lives: Lives,
    *,
    requests: int,
    switches: int,
    clients: int = 8,
    resident: Callable[[], float] = lambda: 0.0,
) -> Switches:
    """At least that many requests, spread over that many switches.

    Args:
        resident: the server's memory in MiB.
    """
    result = Switches(Answers())
    finished = False

    async def publish_all() -> None:
        nonlocal finished
        try:
            for index in range(switches):
                while len(result.answers.asked) < requests * (index + 1) // (switches + 1):
                    await asyncio.sleep(0.001)
                began = time.monotonic()
                made = await asyncio.to_thread(publish_next)
                while made.version not in lives.available or made.version - 1 not in lives.ended:
                    await asyncio.sleep(0.001)
                    if time.monotonic() > began + 60:
                        raise RuntimeError(f"version {made.version} was not served within 60 s")
                result.seconds.append(lives.available[made.version] - began)
                result.resident.append(resident())
            while len(result.answers.asked) < requests:
                await asyncio.sleep(0.001)
        finally:
            finished = True

    await asyncio.gather(publish_all(), ask(address, name, clients, result.answers, lambda: finished))
    return result


# ---- the server in a process of its own


async def serve_here(root: str, runtime: str) -> None:
    """Serves until SIGTERM. Prints states as they change, and at the start the address."""
    from cvserve.serving import Server, ServerSettings
    from cvserve.serving.process import SWITCH_SECONDS

    sys.setswitchinterval(SWITCH_SECONDS)
    settings = ServerSettings.model_validate(
        {"host": "127.0.0.1", "port": 0, "poll_seconds": POLL_SECONDS, "runtime": runtime, "max_batch_size": 8}
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Server(root, settings, observer=Printed()) as server:
        print(json.dumps({"address": server.address}), flush=True)
        await stop.wait()


def resident_mib(process: int) -> float:
    """Resident memory (Linux)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {process} has ended")


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Starts a server, asks and switches, and sums up."""
    lives = Lives()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    original = read(arguments.model) if arguments.model else None

    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) / "models" / "switched"

        def publish_next() -> Artifact:
            return publish_again(directory, original) if original else publish_numbered(directory)

        publish_next()
        server = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            "--serve",
            str(directory.parent),
            "--runtime",
            arguments.runtime,
            stdout=asyncio.subprocess.PIPE,
        )
        assert server.stdout is not None

        async def listen() -> None:
            assert server.stdout is not None
            async for line in server.stdout:
                said = json.loads(line)
                if "address" in said:
                    address.set_result(said["address"])
                else:
                    lives.note(said["version"], said["state"], said["at"])

        listening = asyncio.ensure_future(listen())
        try:
            await asyncio.wait([listening, address], return_when=asyncio.FIRST_COMPLETED)
            target = await address
            warm = Answers()
            await ask(target, "switched", arguments.clients, warm, lambda: len(warm.asked) >= arguments.warm)
            await asyncio.sleep(1)
            before = resident_mib(server.pid)
            result = await switch_under_load(
                target,
                "switched",
                publish_next,
                lives,
                requests=arguments.requests,
                switches=arguments.switches,
                clients=arguments.clients,
                resident=lambda: resident_mib(server.pid),
            )
            await asyncio.sleep(1)
            after = resident_mib(server.pid)
        finally:
            if server.returncode is None:
                server.terminate()
            await server.wait()
        await listening
    wrong = result.answers.wrong(lives, numbered=original is None)
    times = sorted(answered - sent for sent, answered, *_ in result.answers.asked)
    versions = {version for _, _, version, _ in result.answers.asked}
    return {
        "cores": len(os.sched_getaffinity(0)),
        "model": str(arguments.model or "numbered (made here)"),
        "runtime": arguments.runtime,
        "clients": arguments.clients,
        "requests": len(result.answers.asked) + len(result.answers.failures),
        "switches": len(result.seconds),
        "versions that answered": len(versions),
        "failed": len(result.answers.failures),
        "failures": sorted(set(result.answers.failures))[:10],
        "wrong": len(wrong),
        "wrong answers": sorted(set(wrong))[:10],
        "p50 ms": times[len(times) // 2] * 1000,
        "p99 ms": times[len(times) * 99 // 100] * 1000,
        "slowest ms": times[-1] * 1000,
        "switch p50 s": sorted(result.seconds)[len(result.seconds) // 2],
        "slowest switch s": max(result.seconds),
        "resident before MiB": before,
        "resident after MiB": after,
        "growth": after / before - 1,
        "resident MiB": result.resident,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--switches", type=int, default=50)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--warm", type=int, default=1000, help="requests before memory is measured first")
    parser.add_argument("--model", type=Path, help="an artifact to serve instead of the small one that is made")
    parser.add_argument("--runtime", default="auto", choices=("auto", "tensorflow", "onnx", "litert"))
    parser.add_argument("--out", type=Path, help="writes the figures as JSON")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve_here(arguments.serve, arguments.runtime))
        return 0
    from cvserve.console import table

    figures = asyncio.run(measure(arguments))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n")
    shown = [(name, round(value, 3) if isinstance(value, float) else value) for name, value in figures.items()]
    table([row for row in shown if not isinstance(row[1], list)], ["", "figure"])
    for text in (*figures["failures"], *figures["wrong answers"]):
        print(text)
    good = not figures["failed"] and not figures["wrong"] and abs(figures["growth"]) <= 0.1
    print("held" if good else "NOT HELD: failures, wrong answers or memory")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
