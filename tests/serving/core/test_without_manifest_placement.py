"""A SavedModel without a manifest on several devices: a replica on each, used in turns. In another process, whose CPU
is two."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from cvserve.runtimes.tensorflow import import_tensorflow
tf = import_tensorflow()
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(2)])
sys.path.insert(0, sys.argv[1])
import half_plus_two
from cvserve.serving.core import without_manifest
from cvserve.serving.core.settings import ModelSettings
found = []
for write in (half_plus_two.write_tf1, half_plus_two.write_tf2):
    directory = write(Path(sys.argv[2]) / write.__name__)
    loaded = without_manifest.load(directory, ModelSettings(devices=("cpu:0", "cpu:1"), instances=2, threads=1))
    which = [loaded.entries.index(graph) for graph in loaded.graphs]
    x = {"x": np.ones((1, 1), np.float32)}
    answers = [float(graph.runs["serving_default"](x, None)["y"][0, 0]) for graph in loaded.graphs]
    found.append([which, answers])
    loaded.close()
from cvserve.runtimes.session import SavedModelSession
session = SavedModelSession(directory, device="cpu:1")
where = {node.device for node in session._session.graph.get_operations() if node.type == "VarHandleOp"}
print(json.dumps({"found": found, "where": sorted(where)}))
"""


@pytest.mark.slow
def test_replicas_on_several_logical_devices(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    tests = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, tests, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["found"] == [[[0, 1, 0, 1], [2.5] * 4]] * 2
    assert [name.rpartition("/")[2] for name in answer["where"]] == ["device:CPU:1"]
