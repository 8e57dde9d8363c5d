"""The committed generated code is that of the .proto, and runs with the oldest libraries that setup.cfg allows."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf import descriptor_pb2

from cvserve.protos import model_server_pb2, vision_pb2

FILES = pytest.mark.parametrize("module", [model_server_pb2, vision_pb2], ids=["model_server", "vision"])

ROOT = Path(__file__).resolve().parents[2]


def clear_json_names(messages: Iterable[descriptor_pb2.DescriptorProto]) -> None:
    """The compiler writes them, generated code does not."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        clear_json_names(message.nested_type)


@FILES
def test_the_generated_code_is_up_to_date(module: ModuleType, tmp_path: Path) -> None:
    if find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed")
    out = tmp_path / "descriptors"
    # A process of its own: the compiler and TensorFlow crash in the same one.
    arguments = ["-m", "grpc_tools.protoc", f"-I{ROOT}", f"--descriptor_set_out={out}", module.DESCRIPTOR.name]
    subprocess.run([sys.executable, *arguments], check=True, cwd=ROOT)
    [compiled] = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    committed = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(committed)
    for file in (compiled, committed):
        clear_json_names(file.message_type)
    assert compiled == committed, f"{module.DESCRIPTOR.name} has changed: run make protos"


@FILES
def test_the_generated_code_needs_no_newer_libraries_than_setup_cfg_allows(module: ModuleType) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = dict(re.findall(r"^([a-z]+)>=([0-9.]+)", setup["options"]["install_requires"], re.MULTILINE))

    def numbers(version: str) -> tuple[int, ...]:
        return tuple(int(part) for part in version.split("."))

    path = ROOT / module.DESCRIPTOR.name.replace(".proto", "_pb2.py")
    messages = path.read_text()
    made_with = re.search(r"# Protobuf Python Version: ([0-9.]+)", messages)
    assert made_with is not None
    assert numbers(required["protobuf"]) >= numbers(made_with[1])
    services = path.with_name(f"{path.stem}_grpc.py").read_text()
    made_with = re.search(r"GRPC_GENERATED_VERSION = '([0-9.]+)'", services)
    assert made_with is not None
    assert (*numbers(required["grpcio"]), 0) >= numbers(made_with[1])
