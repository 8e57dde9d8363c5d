"""Sends malformed messages to a server in a process of its own: it must not crash nor answer INTERNAL.

    python benchmarks/fuzz_server.py                                  # 100,000 messages, a few minutes
    python benchmarks/fuzz_server.py --messages 2000 --seed 7 --out fuzz.json

It sends, in turn: protobufs that are random, truncated, altered or concatenated, to every method; well-formed requests
with impossible tensors (shapes, dtypes, lengths, names); truncated or altered images; altered HTTP requests; random
bytes on both ports, also after a valid HTTP/2 preface. After each hundred messages a valid request must be answered,
over gRPC and over HTTP. The same seed gives the same messages.

Counted as faults: an answer of INTERNAL or UNKNOWN, an HTTP status of 500, a connection that is lost without an answer,
a valid request that fails, a server that ends, memory that grows by more than half.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import collections
import contextlib
import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

MODEL = "colours"
WIDTH = 24
"""Messages under way at the same time."""

TIMEOUT_SECONDS = 20.0
FAULTS = ("INTERNAL", "UNKNOWN", "DATA_LOSS")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

PREDICTION = "/tensorflow.serving.PredictionService/"
VISION = "/cvserve.v1.VisionService/"
METHODS = (
    *(PREDICTION + name for name in ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")),
    *("/tensorflow.serving.ModelService/" + name for name in ("GetModelStatus", "HandleReloadConfigRequest")),
    *(VISION + name for name in ("Classify", "Detect", "Segment", "Caption", "GetModelInfo")),
    "/grpc.health.v1.Health/Check",
)


class Messages:
    """Makes one malformed message after the other."""

    def __init__(self, seed: int) -> None:
        from tensorflow.core.framework import types_pb2
        from tensorflow_serving.apis import (
            classification_pb2,
            get_model_metadata_pb2,
            get_model_status_pb2,
            predict_pb2,
        )

        from cvserve.protos import vision_pb2

        self._random = random.Random(seed)
        self._dtypes = [value for value in types_pb2.DataType.values() if value < 1 << 20]
        self._predict = predict_pb2.PredictRequest
        self.images = _images()
        self.good = vision_pb2.ClassifyRequest(
            model=vision_pb2.ModelSpec(name=MODEL), image=self.images[0], top_k=3
        ).SerializeToString()
        predict = self._predict()
        predict.model_spec.name = MODEL
        predict.inputs["images"].dtype = types_pb2.DT_UINT8
        for size in (1, 16, 16, 3):
            predict.inputs["images"].tensor_shape.dim.add().size = size
        predict.inputs["images"].tensor_content = bytes(16 * 16 * 3)
        examples = classification_pb2.ClassificationRequest()
        examples.model_spec.name = MODEL
        examples.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
        metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        metadata.model_spec.name = MODEL
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = MODEL
        self._samples = [self.good, *(m.SerializeToString() for m in (predict, examples, metadata, status))]
        self._template = predict

    def rpc(self) -> tuple[str, bytes]:
        """A method, and what to send to it."""
        kind = self._random.randrange(3)
        if kind == 0:
            return self._random.choice(METHODS), self._bent(self._random.choice(self._samples))
        if kind == 1:
            return PREDICTION + "Predict", self._impossible()
        return self._with_image()

    def http(self) -> bytes:
        """An HTTP request, head and body."""
        picked = self._random.random
        body = json.dumps(
            self._random.choice(
                [
                    {"instances": [[[self._number()] * 3] * 16] * 16},
                    {"signature_name": "bytes", "instances": [{"b64": base64.b64encode(self._image()).decode()}]},
                    {"inputs": {"images": self._nested(self._random.randrange(40))}},
                    {"instances": {}, "inputs": []},
                    {"examples": [{"x": self._number()}], "signature_name": self._text()},
                    {"instances": [{"b64": self._text()}, self._number(), None]},
                ]
            )
        ).encode()
        if picked() < 0.5:
            body = self._bent(body)
        head: list[bytes] = []
        if picked() < 0.1:
            body = gzip.compress(body) if picked() < 0.5 else body
            head.append(b"Content-Encoding: gzip")
        verb = self._random.choice(["predict", "classify", "regress", "explode", "", "Predict"])
        path = self._random.choice(
            [
                f"/v1/models/{MODEL}:{verb}",
                f"/v1/models/{MODEL}/versions/{self._number()}:{verb}",
                f"/v1/models/{MODEL}/labels/{verb}:predict",
                f"/v1/models/{self._text()}:predict",
                f"/v1/models/{MODEL}/metadata",
                "/v1/models/../../etc/passwd:predict",
                "/" + self._text(),
            ]
        )
        method = self._random.choice(["POST", "POST", "POST", "GET", "PUT", "DELETE"])
        head.append(b"Content-Length: %d" % len(body))
        line = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
        return line + b"\r\n".join(head) + b"\r\n\r\n" + body

    def noise(self) -> bytes:
        """Random bytes, or frames of HTTP/2 that make no sense."""
        junk = self._random.randbytes(self._random.randrange(1, 2000))
        if self._random.random() < 0.5:
            return junk
        frames = b"".join(
            length.to_bytes(3, "big")
            + bytes([self._random.randrange(12), self._random.randrange(256)])
            + self._random.randrange(1 << 31).to_bytes(4, "big")
            + self._random.randbytes(length)
            for length in (self._random.randrange(100) for _ in range(5))
        )
        return PREFACE + frames

    def _bent(self, data: bytes) -> bytes:
        choice = self._random.randrange(6)
        if choice == 0:
            return self._random.randbytes(self._random.randrange(200))
        if choice == 1:
            return data[: self._random.randrange(len(data) + 1)]
        if choice == 2:
            return data + self._random.choice(self._samples)
        if choice == 3:
            at = self._random.randrange(len(data) + 1)
            return data[:at] + self._random.randbytes(self._random.randrange(1, 20)) + data[at:]
        bent = bytearray(data)
        for _ in range(self._random.randrange(1, 10) if bent else 0):
            bent[self._random.randrange(len(bent))] = self._random.randrange(256)
        return bytes(bent)

    def _impossible(self) -> bytes:
        request = self._predict()
        request.CopyFrom(self._template)
        pick = self._random.random
        tensor = request.inputs["images"]
        if pick() < 0.3:
            tensor.dtype = self._random.choice(self._dtypes)
        if pick() < 0.5:
            del tensor.tensor_shape.dim[:]
            for _ in range(self._random.randrange(0, 40 if pick() < 0.1 else 6)):
                tensor.tensor_shape.dim.add().size = self._number()
        if pick() < 0.5:
            tensor.tensor_content = self._random.randbytes(self._random.choice([0, 1, 767, 769, 768 * 3]))
        if pick() < 0.3:
            field = self._random.choice(["float_val", "int_val", "int64_val", "bool_val", "half_val", "string_val"])
            value: Any = {"float_val": 1.5, "string_val": b"x", "bool_val": True}.get(field, self._random.randrange(9))
            getattr(tensor, field).extend([value] * self._random.randrange(1, 50))
        if pick() < 0.1:
            tensor.tensor_shape.unknown_rank = True
        if pick() < 0.15:
            request.inputs[self._text()].CopyFrom(tensor)
        if pick() < 0.1:
            del request.inputs["images"]
        if pick() < 0.15:
            request.output_filter.extend([self._text(), "probabilities", "probabilities"][: self._random.randrange(4)])
        if pick() < 0.15:
            request.model_spec.signature_name = self._random.choice(["bytes", self._text()])
        if pick() < 0.1:
            request.model_spec.version.value = self._number()
        if pick() < 0.1:
            request.model_spec.version_label = self._text()
        if pick() < 0.1:
            request.model_spec.name = self._text()
        return request.SerializeToString()

    def _with_image(self) -> tuple[str, bytes]:
        from tensorflow.core.framework import types_pb2

        from cvserve.protos import vision_pb2

        if self._random.random() < 0.7:
            model = vision_pb2.ModelSpec(name=MODEL)
            top_k = self._random.choice([0, 1, -1, 1 << 30])
            request = vision_pb2.ClassifyRequest(model=model, image=self._image(), top_k=top_k)
            return VISION + "Classify", request.SerializeToString()
        predict = self._predict()
        predict.model_spec.name = MODEL
        predict.model_spec.signature_name = "bytes"
        tensor = predict.inputs["image_bytes"]
        tensor.dtype = types_pb2.DT_STRING
        count = self._random.randrange(1, 4)
        tensor.tensor_shape.dim.add().size = count
        tensor.string_val.extend([self._image() for _ in range(count)])
        return PREDICTION + "Predict", predict.SerializeToString()

    def _image(self) -> bytes:
        """A broken image; now and then bending leaves it whole."""
        data = bytearray(self._random.choice(self.images))
        choice = self._random.randrange(3)
        if choice == 0:
            return bytes(data[: self._random.randrange(len(data))])
        if choice == 1:
            # Where sizes and tables stand.
            for _ in range(self._random.randrange(1, 5)):
                data[self._random.randrange(min(64, len(data)))] = self._random.randrange(256)
        else:
            for _ in range(self._random.randrange(1, 30)):
                data[self._random.randrange(len(data))] = self._random.randrange(256)
        return bytes(data)

    def _number(self) -> int:
        return self._random.choice([0, 1, 2, 3, 16, -1, 255, 1 << 16, (1 << 31) - 1, 1 << 40, (1 << 63) - 1])

    def _text(self) -> str:
        return "".join(
            self._random.choice("abcXYZ019._-:/ %\u00e9\u4e2d\n\0") for _ in range(self._random.randrange(20))
        )

    def _nested(self, depth: int) -> Any:
        value: Any = self._number()
        for _ in range(depth):
            value = [value]
        return value


def _images() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    return [cv2.imencode(suffix, pixels)[1].tobytes() for suffix in (".jpg", ".png", ".webp", ".bmp", ".tiff", ".gif")]


class Fuzzer:
    """Sends the messages and keeps count."""

    def __init__(self, seed: int, address: str, http_port: int | None) -> None:
        self.messages = Messages(seed)
        self.answers: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []
        self.slowest = 0.0
        self._host, port = address.rsplit(":", 1)
        self._port, self._http_port = int(port), http_port
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
        self._calls: dict[str, Callable[..., Any]] = {}

    async def run(self, count: int, say: Callable[[int], None]) -> None:
        for start in range(0, count, 100):
            waiting = [self._one(number) for number in range(start, min(start + 100, count))]
            for at in range(0, len(waiting), WIDTH):
                await asyncio.gather(*waiting[at : at + WIDTH])
            await self._good_ones()
            say(min(start + 100, count))
        await self._channel.close()

    async def _one(self, number: int) -> None:
        # Most of them to gRPC; the sockets of the others cost more.
        place = number % 20
        if place in (3, 13) and self._http_port is not None:
            await self._http(self.messages.http())
        elif place == 7:
            await self._noise(self._port)
        elif place == 17 and self._http_port is not None:
            await self._noise(self._http_port)
        else:
            await self._rpc(*self.messages.rpc())

    async def _rpc(self, method: str, payload: bytes) -> None:
        code = await self._code(method, payload)
        self.answers[f"gRPC {code.split()[0]}"] += 1
        if code.startswith((*FAULTS, "UNAVAILABLE", "DEADLINE_EXCEEDED")):
            self._fault(f"{method}: {code}", payload)

    async def _code(self, method: str, payload: bytes) -> str:
        call = self._calls.setdefault(method, self._channel.unary_unary(method))
        start = time.perf_counter()
        try:
            await call(payload, timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            if code in FAULTS or code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                return f"{code} {error.details()}"
            return code
        finally:
            self.slowest = max(self.slowest, time.perf_counter() - start)
        return "OK"

    async def _http(self, request: bytes) -> None:
        assert self._http_port is not None
        try:
            answer = await asyncio.wait_for(self._exchange(self._http_port, request), TIMEOUT_SECONDS)
        except (OSError, asyncio.TimeoutError) as error:
            self._fault(f"HTTP: {type(error).__name__}", request)
            return
        status = answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/") else "nothing"
        self.answers[f"HTTP {status}"] += 1
        if status in ("nothing", "500"):
            self._fault(f"HTTP: {status}", request)

    async def _noise(self, port: int) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._exchange(port, self.messages.noise(), 0.2), TIMEOUT_SECONDS)
        self.answers["noise"] += 1

    async def _exchange(self, port: int, data: bytes, patience: float | None = None) -> bytes:
        """Sends, and reads to the end, or as long as the patience lasts."""
        reader, writer = await asyncio.open_connection(self._host, port)
        try:
            writer.write(data)
            await writer.drain()
            if patience is None:
                return await reader.read()
            try:
                return await asyncio.wait_for(reader.read(), patience)
            except asyncio.TimeoutError:
                return b""
        finally:
            writer.close()

    async def _good_ones(self) -> None:
        code = await self._code(VISION + "Classify", self.messages.good)
        if code != "OK":
            self._fault(f"a good request over gRPC: {code}", self.messages.good)
        if self._http_port is not None:
            image = base64.b64encode(self.messages.images[0]).decode()
            body = json.dumps({"signature_name": "bytes", "instances": [{"b64": image}]}).encode()
            head = f"POST /v1/models/{MODEL}:predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            answer = await self._exchange(self._http_port, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            if b" 200 " not in answer[:20]:
                self._fault(f"a good request over HTTP: {answer[:300]!r}", body)

    def _fault(self, what: str, payload: bytes) -> None:
        self.answers["faults"] += 1
        if len(self.faults) < 50:
            self.faults.append(f"{what} | {len(payload)} bytes: {payload[:200].hex()}")


class ServerUnderTest:
    """`cvserve serve` on the colour model of the tests."""

    def __init__(self, directory: str) -> None:
        from tiny_artifact import publish_tiny

        publish_tiny(Path(directory) / "models" / MODEL)
        self.log = open(Path(directory) / "server.log", "w+")  # noqa: SIM115 - closed with the process
        command = [
            str(Path(sys.executable).with_name("cvserve")),
            "serve",
            f"{directory}/models",
            "--host",
            "127.0.0.1",
        ]
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--http-port", "0"], stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        self.address, self.http_port = "", None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("HTTP on"):
                self.http_port = int(line.split()[-1].rsplit(":", 1)[1])
            if line.startswith("ready"):
                self.address = line.split()[-1]
                return
        raise SystemExit("the server did not start")

    def memory_mib(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    def tracebacks(self) -> int:
        self.log.flush()
        return Path(self.log.name).read_text(errors="replace").count("Traceback")

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=60)


def run(count: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        server = ServerUnderTest(directory)

        async def go() -> Fuzzer:
            fuzzer = Fuzzer(seed, server.address, server.http_port)
            # What is allocated once is not growth: a server that began with 143 MiB had 218 after 30,000 messages, 232
            # after 60,000 and 235 after 150,000.
            await fuzzer.run(min(max(500, count // 5), count), lambda done: None)
            fuzzer = Fuzzer(seed + 1, server.address, server.http_port)
            memory.append(server.memory_mib())
            await fuzzer.run(count, lambda done: progress(done, count, fuzzer))
            return fuzzer

        memory: list[float] = []
        start = time.perf_counter()
        fuzzer = asyncio.run(go())
        alive = server.process.poll() is None
        memory.append(server.memory_mib() if alive else 0.0)
        ended = server.end() if alive else server.process.returncode
        if memory[1] > memory[0] * 1.5:
            fuzzer.faults.append(f"memory grew from {memory[0]:.0f} to {memory[1]:.0f} MiB")
        if not alive or ended != 0:
            fuzzer.faults.append(f"the server ended with {ended}")
        return {
            "messages": count,
            "seed": seed,
            "seconds": time.perf_counter() - start,
            "http": server.http_port is not None,
            "answers": dict(sorted(fuzzer.answers.items())),
            "slowest_seconds": fuzzer.slowest,
            "memory_mib": memory,
            "tracebacks_in_the_log": server.tracebacks(),
            "faults": fuzzer.faults,
        }


def progress(done: int, count: int, fuzzer: Fuzzer) -> None:
    if done % 5000 == 0:
        print(f"{done}/{count}: {fuzzer.answers['faults']} faults", file=sys.stderr, flush=True)


def table(result: dict[str, Any]) -> str:
    lines = [f"{result['messages']} messages in {result['seconds']:.0f} s, seed {result['seed']}"]
    lines += [f"{count:>9}  {answer}" for answer, count in result["answers"].items()]
    before, after = result["memory_mib"]
    lines.append(
        f"memory {before:.0f} to {after:.0f} MiB, slowest answer {result['slowest_seconds']:.2f} s, "
        f"{result['tracebacks_in_the_log']} tracebacks in the log"
    )
    lines += [f"FAULT {fault}" for fault in result["faults"]] or ["no faults"]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    arguments = parser.parse_args()
    result = run(arguments.messages, arguments.seed)
    print(table(result))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(1 if result["faults"] else 0)


if __name__ == "__main__":
    main()
