"""Where the replicas of a model run: devices, instances on each, and that all of them get requests."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from serving_kit import PuppetRuntime
from tiny_artifact import publish_tiny

from cvserve.artifact import Artifact
from cvserve.errors import FailedPrecondition, InvalidInput
from cvserve.runtimes.instances import InstancePlan
from cvserve.serving.core import loading
from cvserve.serving.core.batching.execution import RunGraph
from cvserve.serving.core.batching.policy import BatchLimits, QueueBounds
from cvserve.serving.core.batching.queue import BatchQueue
from cvserve.serving.core.batching.worker import Worker
from cvserve.serving.core.loop_callbacks import LoopCallbacks
from cvserve.serving.core.replicas import Placement, candidates, placements, worker_count
from cvserve.serving.core.settings import ModelSettings
from cvserve.serving.settings import load_settings


def test_the_devices_of_a_model_are_checked() -> None:
    assert load_settings({"devices": "gpu:1"}).devices == ("gpu:1",)
    assert load_settings({"models": {"m": {"devices": ["cpu:0", "cpu:1"]}}}).of_model("m").devices == ("cpu:0", "cpu:1")
    for devices, sentence in (
        (["gpu:0", "gpu"], "gpu:0 is listed twice; write instances: 2"),
        (["tpu"], "'tpu' is not a device"),
        ([], "devices"),
    ):
        with pytest.raises(InvalidInput, match=sentence):
            load_settings({"devices": devices})


def test_every_device_has_its_instances_and_neighbours_are_apart() -> None:
    settings = ModelSettings(devices=("gpu:0", "gpu:1"))
    chosen = InstancePlan(instances=2, threads=3)
    assert worker_count(settings, chosen) == 4
    # A replica that runs several calls: one for each device; worker 0 is on gpu:0, 1 on gpu:1, 2 on gpu:0, ...
    assert placements(settings, chosen, "onnx") == [Placement("gpu:0", 3), Placement("gpu:1", 3)]
    # Otherwise one replica for each worker.
    each = placements(ModelSettings(devices=("cpu:0", "cpu:1")), chosen, "litert")
    assert [placement.device for placement in each] == ["cpu:0", "cpu:1", "cpu:0", "cpu:1"]


def test_the_plans_to_measure_for_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from cvserve.serving.core import replicas

    monkeypatch.setattr(replicas, "usable_cores", lambda: 8)
    everything = [InstancePlan(4, 2), InstancePlan(1, 8), InstancePlan(4, 8)]
    assert list(candidates(ModelSettings(), "onnx")) == everything
    assert list(candidates(ModelSettings(), "litert")) == everything[:2], "replicas of many threads each are too many"
    assert list(candidates(ModelSettings(), "tensorflow")) == everything[:1], "one number of threads a process"
    assert list(candidates(ModelSettings(threads=2), "onnx")) == [InstancePlan(4, 2)]
    assert list(candidates(ModelSettings(instances=2), "onnx")) == [InstancePlan(2, 4)]
    # The cores are divided among the devices.
    assert list(candidates(ModelSettings(devices=("cpu:0", "cpu:1")), "tensorflow")) == [InstancePlan(4, 1)]
    assert list(candidates(ModelSettings(devices=("gpu:0", "gpu:1")), "onnx")) == [
        InstancePlan(2, 2),
        InstancePlan(1, 4),
    ]
    assert list(candidates(ModelSettings(devices=("gpu:0",), instances=3), "onnx")) == [InstancePlan(3, 2)]


def test_each_replica_is_opened_on_its_own_device(tmp_path: Path) -> None:
    opened: list[tuple[str, int]] = []

    def open_one(artifact: Artifact, settings: ModelSettings, placement: Placement) -> PuppetRuntime:
        opened.append((placement.device, placement.threads))
        return PuppetRuntime()

    settings = ModelSettings(devices=("cpu:0", "cpu:1"), instances=2, threads=3, max_batch_size=1)
    model = loading.load(publish_tiny(tmp_path / "m").directory, settings, open_one)
    assert opened == [("cpu:0", 3), ("cpu:1", 3)] * 2
    assert "4 instances x 3 threads on cpu:0, cpu:1, batches" in model.describe()
    assert len({id(graph.__self__) for graph in model.graphs}) == 4  # type: ignore[attr-defined]
    model.close()


def test_all_replicas_use_the_runtime_that_auto_chose_for_the_first(tmp_path: Path) -> None:
    asked: list[str] = []

    def open_one(artifact: Artifact, settings: ModelSettings, placement: Placement) -> PuppetRuntime:
        asked.append(settings.runtime)
        return PuppetRuntime()

    settings = ModelSettings(devices=("cpu:0", "cpu:1"), instances=1, threads=1, max_batch_size=1)
    loading.load(publish_tiny(tmp_path / "m").directory, settings, open_one).close()
    assert asked == ["auto", "puppet"]


def test_a_device_that_does_not_exist(tmp_path: Path) -> None:
    directory = publish_tiny(tmp_path / "m").directory
    with pytest.raises(FailedPrecondition, match="gpu:7"):
        loading.load(directory, ModelSettings(devices=("gpu:7",), instances=1, max_batch_size=1))


async def test_idle_instances_take_turns() -> None:
    """One request after the other, so that every instance is idle each time; still all of them are used."""
    used: list[int] = []

    def graph(index: int) -> RunGraph:
        def run(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
            used.append(index)
            return {"y": inputs["x"]}

        return run

    workers = [Worker(graph(index), f"test-{index}") for index in range(3)]
    queue = BatchQueue(
        workers, BatchLimits(4), QueueBounds(), LoopCallbacks(asyncio.get_running_loop()), name="model 'm'"
    )
    for _ in range(6):
        await queue.run({"x": np.zeros((1, 1))})
    for worker in workers:
        worker.end()
    assert used == [0, 1, 2, 0, 1, 2]


async def test_all_instances_run_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=20)

    def run(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        together.wait()  # passes only when three batches run
        return {"y": inputs["x"]}

    workers = [Worker(run, f"test-{index}") for index in range(3)]
    queue = BatchQueue(
        workers, BatchLimits(1), QueueBounds(), LoopCallbacks(asyncio.get_running_loop()), name="model 'm'"
    )
    answers = await asyncio.gather(*(queue.run({"x": np.full((1, 1), index)}) for index in range(3)))
    for worker in workers:
        worker.end()
    assert [answer["y"].item() for answer in answers] == [0, 1, 2]


_LOGICAL = """
import json, sys, threading
from pathlib import Path
import numpy as np
from cvserve.runtimes.tensorflow import import_tensorflow
tf = import_tensorflow()
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(2)])

class Adds(tf.Module):
    def __init__(self):
        self.one = tf.Variable([1.0])
    @tf.function(input_signature=[tf.TensorSpec((None, 1), tf.float32, name="x")])
    def serve(self, x):
        return {"y": x + self.one}

adds = Adds()
tf.saved_model.save(adds, sys.argv[1], signatures={"serving_default": adds.serve})

from cvserve.runtimes import open_graph
from cvserve.runtimes.device import Resources
copies = [open_graph(Path(sys.argv[1]), "saved_model", threads=1, device=device, resources=Resources(interop_threads=3))
          for device in ("cpu:0", "cpu:1")]
where = [copy._model.one.device for copy in copies]
answers = [copy.run({"x": np.ones((2, 1), np.float32)})["y"].ravel().tolist() for copy in copies]
try:
    open_graph(Path(sys.argv[1]), "saved_model", threads=1, device="cpu:2")
    refused = ""
except Exception as error:
    refused = f"{type(error).__name__}: {error}"
print(json.dumps({"where": where, "answers": answers, "refused": refused}))
"""


@pytest.mark.slow
def test_replicas_of_a_saved_model_on_several_logical_devices(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    done = subprocess.run(
        [sys.executable, "-c", _LOGICAL, str(tmp_path / "model")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [device.rpartition("/")[2] for device in found["where"]] == ["device:CPU:0", "device:CPU:1"]
    assert found["answers"] == [[2.0, 2.0]] * 2
    assert found["refused"] == "FailedPrecondition: TensorFlow sees no device cpu:2; it sees 2 of kind cpu"


_SERVED = """
import asyncio, json, sys
from dataclasses import replace
from pathlib import Path
import grpc
from cvserve.runtimes.tensorflow import import_tensorflow
tf = import_tensorflow()
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(2)])

class Adds(tf.Module):
    def __init__(self):
        self.one = tf.Variable([1.0])
    @tf.function(input_signature=[tf.TensorSpec((None, 1), tf.float32, name="x")])
    def serve(self, x):
        return {"y": x + self.one}

adds = Adds()
tf.saved_model.save(adds, sys.argv[1] + "/adds/1", signatures={"serving_default": adds.serve})

from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from cvserve.serving import Server, ServerSettings
from cvserve.serving.core.batching.execution import Entries
from cvserve.serving.core.loading import load

runs = []

def counted(index, run):
    def call(*arguments):
        runs.append(index)
        return run(*arguments)
    return call

def load_counted(directory, settings):
    model = load(directory, settings)
    return replace(model, entries=tuple(
        Entries({key: counted(index, run) for key, run in copy.runs.items()}, copy.close)
        for index, copy in enumerate(model.entries)
    ))

async def main():
    settings = ServerSettings(host="127.0.0.1", port=0, http_port=-1, devices=("cpu:0", "cpu:1"), instances=1)
    async with Server(sys.argv[1], settings, load_model=load_counted) as server:
        described = server.describe()
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "adds"
            request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0]]))
            answers = [(await stub.Predict(request)).outputs["y"].float_val[0] for _ in range(6)]
    print(json.dumps({"described": described, "runs": runs, "answers": answers}))

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_served_model_uses_all_its_logical_devices(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_serving")
    done = subprocess.run([sys.executable, "-c", _SERVED, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert "2 instances x" in found["described"][0]
    assert "on cpu:0, cpu:1" in found["described"][0]
    assert found["runs"] == [0, 1, 0, 1, 0, 1]
    assert found["answers"] == [2.0] * 6
