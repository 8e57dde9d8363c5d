"""The process of `cvserve model-server`: runs our server with the flags of tensorflow_model_server."""

from __future__ import annotations

import signal
import sys
from functools import partial
from importlib import metadata

from cvserve import __version__, console
from cvserve.serving import process
from cvserve.serving.protocols.tensorflow_serving.model_server.config_file import follow
from cvserve.serving.protocols.tensorflow_serving.model_server.flags import Flags
from cvserve.serving.protocols.tensorflow_serving.model_server.loading import loader
from cvserve.serving.protocols.tensorflow_serving.model_server.settings import Start, read_models, read_start
from cvserve.serving.protocols.tensorflow_serving.model_server.waiting import wait_for_a_version
from cvserve.serving.server import Server, load


def model_server(flags: Flags) -> None:
    """Serves until SIGTERM or SIGINT, then lets accepted requests finish.

    Raises:
        CvserveError: in the cases where tensorflow_model_server does not start either; with its text if it has one.
    """
    start = read_start(flags)
    for line in start.warnings:
        console.note(f"cvserve: warning: {line}")
    # As process 1 of a container, the process ignores signals without a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    wait_for_a_version(start.models, flags.file_system_poll_wait_seconds, process.say)
    server = Server(None, start.settings, models=start.models, load_model=loader(flags, load), report=process.say)
    process.run(server, partial(_background, flags, start, server))


async def _background(flags: Flags, start: Start, server: Server) -> None:
    """Prints the lines for which scripts wait, and then follows the config file."""
    for line in listening_lines(start):
        process.say(line)
    if flags.model_config_file and flags.model_config_file_poll_wait_seconds > 0:
        await follow(
            partial(read_models, flags, start.settings.of_model),
            partial(server.engine.reconciler.apply, confined=False),
            flags.model_config_file_poll_wait_seconds,
            process.say,
            start.models,
        )


def listening_lines(start: Start) -> list[str]:
    """Returns the lines that scripts of tensorflow_model_server wait for."""
    lines = []
    settings = start.settings
    if settings.port > 0:
        lines.append(f"Running gRPC ModelServer at {settings.host}:{settings.port} ...")
    if settings.unix_socket:
        lines.append(f"Running gRPC ModelServer at UNIX socket {settings.unix_socket} ...")
    if (settings.http_port or 0) > 0:
        lines.append(f"Exporting HTTP/REST API at:localhost:{settings.http_port} ...")
    return lines


def version_lines() -> list[str]:
    """Returns the lines of --version."""
    try:
        tensorflow = metadata.version("tensorflow")
    except metadata.PackageNotFoundError:
        tensorflow = "not installed"
    return [f"TensorFlow ModelServer: cvserve {__version__}", f"TensorFlow Library: {tensorflow}"]
