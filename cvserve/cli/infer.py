"""Asks a server about pictures. Needs neither TensorFlow nor the model, only the light installation.

--health asks whether the server (or one model on it) is ready and sends no picture: exit code 0 if it is, 2 if not.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from cvserve import console
from cvserve.cli.arguments import example, positive
from cvserve.cli.failures import list_failures
from cvserve.errors import DeadlineExceeded, ImageError, InvalidInput, Overloaded, Unavailable

if TYPE_CHECKING:
    from cvserve.client import Client


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("server", metavar="SERVER", help="host:port")
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a model's name on the server")
    parser.add_argument("pictures", metavar="PICTURE", nargs="*", help="picture files")
    parser.add_argument("--top-k", type=positive, metavar="K", help="classes a picture; default: the model's")
    parser.add_argument("--version", type=positive, metavar="N", help="a version of the model; default: the newest")
    parser.add_argument("--json", action="store_true", help="one JSON object a picture, as cvserve predict writes them")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="X", help="seconds a picture; default: 30")
    parser.add_argument("--concurrency", type=positive, default=8, metavar="N", help="pictures under way; default: 8")
    parser.add_argument("--health", action="store_true", help="only ask whether the server is ready")
    example(
        parser,
        "cvserve infer localhost:8500 flowers photo.jpg",
        "cvserve infer localhost:8500 --health",
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.health:
        return _health(arguments.server, arguments.model or "", arguments.timeout)
    if not arguments.model or not arguments.pictures:
        missing = "a picture" if arguments.model else "the model's name and a picture"
        raise InvalidInput(f"say {missing} too: cvserve infer {arguments.server} flowers photo.jpg")
    from cvserve.client import Client
    from cvserve.parallel import ordered_map

    failed: list[tuple[str, str]] = []
    with Client(arguments.server, timeout=arguments.timeout) as client:
        info = client.model_info(arguments.model, arguments.version)
        if info.task != "classification":
            raise InvalidInput(f"{info.name} is a model for {info.task}, which this command cannot show yet")

        # The version that was just named answers all of them, even if a newer one is loaded meanwhile.
        def ask(name: str) -> dict[str, Any]:
            return {"image": name, **_ask(client, arguments, name, info.version)}

        pictures = ordered_map(ask, arguments.pictures, workers=arguments.concurrency, ahead=2 * arguments.concurrency)
        for row in pictures:
            if "error" in row:
                failed.append((row["image"], row["error"]))
            else:
                name = {"image": row.pop("image"), "task": info.task, "model": info.name, "version": info.version}
                row = {**name, **row}
            _print(row, as_json=arguments.json)
    return list_failures(failed, len(failed), done=len(arguments.pictures) - len(failed))


def _ask(client: Client, arguments: argparse.Namespace, name: str, version: int) -> dict[str, Any]:
    """The result's part of a row, or {"error"} where the fault is this picture's and the next may do better."""
    from cvserve.preproc.source import read_file

    try:
        content = read_file(name, name)
    except ImageError as error:
        return {"error": error.reason}
    try:
        result = client.classify(arguments.model, content, top_k=arguments.top_k, version=version)
    except (InvalidInput, Overloaded, DeadlineExceeded) as error:
        return {"error": str(error)}
    return result.to_dict()


def _print(row: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        console.say(json.dumps(row, ensure_ascii=False))
    elif "classes" in row:
        console.say(row["image"])
        for item in row["classes"]:
            console.say(f"  {item['score']:7.2%}  {item['label']}")


def _health(server: str, model: str, timeout: float) -> int:
    """Asks grpc.health.v1.Health/Check, whose two messages are written out here, so that it needs no generated code."""
    import grpc

    name = model.encode()
    if len(name) > 127:  # the length below is one byte
        raise InvalidInput(f"{model!r} is no model's name: it is too long")
    request = b"\x0a" + len(name).to_bytes(1, "big") + name if name else b""  # HealthCheckRequest {service = 1}
    with grpc.insecure_channel(server) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            response = check(request, timeout=timeout)
        except grpc.RpcError as error:
            what = f"{model} on {server}" if model else server
            raise Unavailable(f"{what} is not ready: {error.details() or error.code().name}") from error
    if response != b"\x08\x01":  # HealthCheckResponse {status = 1}, SERVING being 1
        raise Unavailable(f"{model or 'the server'} at {server} is not ready: it is not serving")
    console.say("ready")
    return 0
