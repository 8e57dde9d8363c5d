"""The committed generated code is that of the .proto, and runs with the oldest libraries that setup.cfg allows."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from cvserve.protos import vision_pb2

ROOT = Path(__file__).resolve().parents[2]


def test_the_generated_code_is_up_to_date(tmp_path: Path) -> None:
    if find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed")
    out = tmp_path / "descriptors"
    # A process of its own: the compiler and TensorFlow crash in the same one.
    arguments = ["-m", "grpc_tools.protoc", f"-I{ROOT}", f"--descriptor_set_out={out}", "cvserve/protos/vision.proto"]
    subprocess.run([sys.executable, *arguments], check=True, cwd=ROOT)
    [compiled] = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    committed = descriptor_pb2.FileDescriptorProto()
    vision_pb2.DESCRIPTOR.CopyToProto(committed)
    for file in (compiled, committed):
        for message in file.message_type:
            for field in message.field:
                field.ClearField("json_name")
    assert compiled == committed, "vision.proto has changed: run the command in cvserve/protos/__init__.py"


def test_the_generated_code_needs_no_newer_libraries_than_setup_cfg_allows() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = dict(re.findall(r"^([a-z]+)>=([0-9.]+)", setup["options"]["install_requires"], re.MULTILINE))

    def numbers(version: str) -> tuple[int, ...]:
        return tuple(int(part) for part in version.split("."))

    messages = (ROOT / "cvserve/protos/vision_pb2.py").read_text()
    made_with = re.search(r"# Protobuf Python Version: ([0-9.]+)", messages)
    assert made_with is not None
    assert numbers(required["protobuf"]) >= numbers(made_with[1])
    services = (ROOT / "cvserve/protos/vision_pb2_grpc.py").read_text()
    made_with = re.search(r"GRPC_GENERATED_VERSION = '([0-9.]+)'", services)
    assert made_with is not None
    assert (*numbers(required["grpcio"]), 0) >= numbers(made_with[1])
