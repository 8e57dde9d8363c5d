"""Serves a repository of models over gRPC and HTTP until SIGTERM or Ctrl-C, and then answers the accepted requests.

The gRPC port has TensorFlow Serving's PredictionService and ModelService, cvserve.v1.VisionService (images in, typed
results out), health and reflection. The HTTP port has TensorFlow Serving's REST API, Prometheus, /healthz and /readyz.
Settings come from --config (YAML), then --set, then the other flags. Settings of one model are in the file under
`models: NAME:`, or are set as models.NAME.KEY.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from cvserve.cli.arguments import add_runtime, example, file_and_set, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `cvserve serve`."""
    parser.add_argument("models", metavar="MODELS", help="a repository, a model's directory or a version's")
    parser.add_argument("--config", metavar="FILE.yaml", help="settings of the server and of single models")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting, such as max_queue_requests=64 or models.flowers.max_batch_size=4; may be repeated",
    )
    parser.add_argument("--schema", action=_PrintSchema, nargs=0, help="print the JSON schema of the settings and exit")
    group = parser.add_argument_group("server")
    group.add_argument("--host", metavar="ADDRESS", help="address to listen on; default: 0.0.0.0, all addresses")
    group.add_argument("--port", type=int, metavar="N", help="gRPC port; default: 8500; 0 takes a free one")
    group.add_argument("--http-port", type=int, metavar="N", help="default: 8501; 0 takes a free one; -1: no HTTP")
    group.add_argument(
        "--decode-workers", type=positive, metavar="N", help="threads that decode; default: one per core"
    )
    group.add_argument("--grace-seconds", type=float, metavar="X", help="for open requests at shutdown; default: 30")
    # A flag that is not given must not override the file.
    add_runtime(parser, default=None)
    group = parser.add_argument_group("batching, of every model")
    group.add_argument("--devices", type=_devices, metavar="D,D", help="cpu, gpu:0, ...; default: cpu")
    group.add_argument("--instances", type=positive, metavar="N", help="batches at the same time, on each device")
    group.add_argument("--max-batch-size", type=positive, metavar="N", help="default: measured while loading")
    group.add_argument(
        "--batch-delay-ms", type=float, metavar="X", help="time that a batch waits to fill up; default: 0"
    )
    group.add_argument("--no-batching", action="store_true", help="run every request alone")
    group.add_argument("--max-queue-requests", type=positive, metavar="N", help="more are refused; default: 256")
    example(
        parser,
        "cvserve serve models/",
        "cvserve serve models/flowers --host 127.0.0.1 --port 0 --runtime onnx",
        "cvserve serve models/ --config serve.yaml --set log_requests=all",
    )


class _PrintSchema(argparse.Action):
    """Prints the schema and ends the command, so that MODELS is not required."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from cvserve.serving import ServerSettings

        print(json.dumps(ServerSettings.model_json_schema(), indent=2))
        parser.exit()


def _devices(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def run(arguments: argparse.Namespace) -> int:
    """Serves until a signal ends it."""
    from cvserve.serving import serve

    serve(arguments.models, file_and_set(arguments), **_flags(arguments))
    return 0


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the flags as settings of the server; None where a flag was not given."""
    return {
        "host": arguments.host,
        "port": arguments.port,
        "http_port": arguments.http_port,
        "decode_workers": arguments.decode_workers,
        "grace_seconds": arguments.grace_seconds,
        "runtime": arguments.runtime,
        "precision": arguments.precision,
        "threads": arguments.threads,
        "devices": arguments.devices,
        "instances": arguments.instances,
        "max_batch_size": arguments.max_batch_size,
        "batch_delay_ms": arguments.batch_delay_ms,
        "batching": False if arguments.no_batching else None,
        "max_queue_requests": arguments.max_queue_requests,
    }
