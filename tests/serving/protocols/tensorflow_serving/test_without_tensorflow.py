"""A server of ONNX where TensorFlow is not installed: it has all of TensorFlow Serving's protocol."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_artifact import publish_tiny

SCRIPT = """
import asyncio, json, sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tensorflow_serving", "keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())

import aiohttp, grpc
import numpy as np
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from cvserve.protos import tensorflow_serving as protos
from cvserve.serving import Server, ServerSettings
from cvserve.serving.protocols.tensorflow_serving.convert import to_array, write_tensor

async def call(channel, service, name, request, answer):
    path = f"/tensorflow.serving.{service}/{name}"
    return await channel.unary_unary(path, request_serializer=lambda m: m.SerializeToString(),
                                     response_deserializer=answer.FromString)(request)

async def main():
    out = {}
    async with Server(sys.argv[1], ServerSettings(host="127.0.0.1", port=0, http_port=0)) as server:
        async with grpc.aio.insecure_channel(server.address) as channel, aiohttp.ClientSession() as http:
            request = protos.PredictRequest()
            request.model_spec.name = "colours"
            pixels = np.zeros((1, 16, 16, 3), np.uint8)
            pixels[..., 1] = 200
            write_tensor(pixels, request.inputs["images"])
            answer = await call(channel, "PredictionService", "Predict", request, protos.PredictResponse)
            out["predict"] = to_array(answer.outputs["probabilities"], "p").argmax().item()
            status = await call(channel, "ModelService", "GetModelStatus", request, protos.GetModelStatusResponse)
            out["state"] = status.model_version_status[0].state
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)
                     for name in ("tensorflow.serving.PredictRequest", "tensorflow.serving.ModelService")]
            found = [reply async for reply in stub.ServerReflectionInfo(iter(asked))]
            out["reflected"] = [len(reply.file_descriptor_response.file_descriptor_proto) for reply in found]
            async with http.get(f"{server.http_address}/v1/models/colours/metadata") as reply:
                out["metadata"] = list((await reply.json())["metadata"]["signature_def"]["signature_def"])
            async with http.post(f"{server.http_address}/v1/models/colours:predict",
                                 json={"instances": pixels.tolist()}) as reply:
                out["rest"] = int(np.argmax((await reply.json())["predictions"][0]))
    tops = {name.partition(".")[0] for name in sys.modules}
    out["loaded"] = sorted(tops & {"tensorflow", "tensorflow_serving", "keras"})
    print(json.dumps(out))

asyncio.run(main())
"""


def test_it_answers_all_protocols(tmp_path: Path) -> None:
    for module in ("onnx", "onnxruntime", "grpc_health", "grpc_reflection", "aiohttp"):
        pytest.importorskip(module)
    publish_tiny(tmp_path / "models" / "colours")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "models")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout.splitlines()[-1])
    assert out["loaded"] == []
    assert out["predict"] == out["rest"] == 1
    assert out["state"] == 30
    assert "serving_default" in out["metadata"]
    assert min(out["reflected"]) >= 1


def test_where_it_is_installed_a_server_of_onnx_does_not_load_it(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    pytest.importorskip("onnxruntime")
    publish_tiny(tmp_path / "models" / "colours")
    script = SCRIPT.replace("sys.meta_path.insert(0, Missing())", "")
    command = [sys.executable, "-c", script, str(tmp_path / "models")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["loaded"] == []
