"""The exported files work without cvserve: plain TensorFlow, onnxruntime and LiteRT, in a process that has none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from small_network import encode, make_images

from cvserve.artifact import Artifact
from cvserve.preproc import preprocess

PROGRAM = """
import sys
sys.modules["cvserve"] = None  # an import of it would fail
import numpy as np
directory, data = sys.argv[1], np.load(sys.argv[2], allow_pickle=True)
images, encoded = data["images"], data["encoded"]
answers = {}

import tensorflow as tf
model = tf.saved_model.load(directory)
answers["saved_model"] = model.signatures["serving_default"](images=tf.constant(images))["probabilities"].numpy()
answers["bytes"] = model.signatures["bytes"](image_bytes=tf.constant(encoded))["probabilities"].numpy()

import onnxruntime
session = onnxruntime.InferenceSession(directory + "/model.onnx")
(answers["onnx"],) = session.run(["probabilities"], {"images": images})

from ai_edge_litert.interpreter import Interpreter
runner = Interpreter(model_path=directory + "/model.tflite").get_signature_runner("serving_default")
answers["tflite"] = runner(images=images)["probabilities"]
np.savez(sys.argv[3], **answers)
"""


def test_plain_libraries_give_the_networks_answers(exported: Artifact, model: Any, tmp_path: Path) -> None:
    images = make_images(3, seed=5)
    encoded = [encode(image) for image in make_images(2, 60, 50, seed=6)]
    np.savez(tmp_path / "in.npz", images=images, encoded=np.array(encoded, object))
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(exported.directory),
        str(tmp_path / "in.npz"),
        str(tmp_path / "out.npz"),
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    answers = np.load(tmp_path / "out.npz")
    wanted = np.asarray(model(images, training=False)["probabilities"])
    for name in ("saved_model", "onnx", "tflite"):
        np.testing.assert_allclose(answers[name], wanted, atol=1e-5, err_msg=name)
    pixels = np.stack([preprocess(data, exported.manifest.preproc)[0] for data in encoded])
    wanted = np.asarray(model(pixels, training=False)["probabilities"])
    np.testing.assert_allclose(answers["bytes"], wanted, atol=0.02)
