"""A fresh clone: the targets that `make` lists, the Python that it refuses, and the metadata."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*words: str) -> str:
    done = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


@needs_make
def test_make_alone_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony is not None
    listed = re.findall(r"^  make (\S+) +\S", make(), flags=re.MULTILINE)
    assert sorted(listed) == sorted(phony[1].split())


@needs_make
def test_a_python_that_is_too_old_is_named() -> None:
    done = subprocess.run(
        ["make", "--always-make", "venv", "PYTHON=false"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "cvserve needs Python 3.10 to 3.13; false is" in done.stderr


def test_the_light_installation_brings_no_framework() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    light = config["options"]["install_requires"].lower()
    for name in ("tensorflow", "keras", "onnx", "litert", "matplotlib", "torch"):
        assert name not in light
    assert config["options.entry_points"]["console_scripts"].strip() == "cvserve = cvserve.cli.main:main"


def test_every_missing_library_can_be_named() -> None:
    """An import through cvserve.extras.require names an extra; it must be one of setup.cfg."""
    from cvserve.extras import _EXTRA_OF

    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    for package, extra in _EXTRA_OF.items():
        names = {"ai_edge_litert": "ai-edge-litert", "tensorflow_serving": "tensorflow-serving-api"}
        names |= {"grpc_health": "grpcio-health-checking", "grpc_reflection": "grpcio-reflection"}
        names |= {"prometheus_client": "prometheus-client"}
        assert names.get(package, package) in extras[extra], package
