"""Remembers measurements of this machine in small files, so that only the first load measures."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)

_GPUS = Path("/proc/driver/nvidia/gpus")


def cache_directory() -> Path:
    """Returns CVSERVE_CACHE_DIR, or cvserve under the XDG cache directory."""
    own = os.environ.get("CVSERVE_CACHE_DIR")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(shared) if shared else Path.home() / ".cache") / "cvserve"
    except RuntimeError:  # no home directory, as for some service accounts
        return Path(tempfile.gettempdir()) / "cvserve-cache"


def key_of(facts: dict[str, Any]) -> str:
    """Returns a file name made from everything that a measurement depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def recall(kind: str, key: str) -> dict[str, Any]:
    """Returns the content that `remember` wrote; empty where there is no file, or a damaged one."""
    try:
        content = json.loads((cache_directory() / kind / f"{key}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def remember(kind: str, key: str, content: dict[str, Any]) -> None:
    """Writes a file, completely or not at all. If it cannot be written, the next load measures again."""
    directory = cache_directory() / kind
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".writing-", dir=directory)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(content, stream)
            os.replace(temporary, directory / f"{key}.json")
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        _LOG.info("the measurement (%s) cannot be saved: %s", kind, error)


def package_version(package: str) -> str:
    """Returns the version of an installed package, or of its build for GPUs."""
    for name in (package, f"{package}-gpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def processor() -> str:
    """Returns the CPU's model name, or Python's description of it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return f"{platform.machine()} {platform.processor()}"


def accelerators(devices: Sequence[str]) -> list[str]:
    """Returns the models of this machine's GPUs, as the driver names them; none where no device is a GPU."""
    if not any(device.startswith("gpu") for device in devices):
        return []
    models = []
    for path in sorted(_GPUS.glob("*/information")):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        models += [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]
    return models
