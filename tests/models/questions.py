"""The questions that every network is asked, whatever its task; `test_every_network.py` asks them of all registered.

A `Case` is a network with the smallest size and options that can answer. The test of a new network calls `ask_*` with a
case of it, or registers it and gives its options in `cases.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvserve.artifact import PreprocSpec
from cvserve.artifact.vocabulary import END, PAD, START, UNKNOWN
from cvserve.data.instance_masks import GRID_SIZE
from cvserve.export.network import Network
from cvserve.export.onnx import write_onnx
from cvserve.export.saved_model import write_saved_model
from cvserve.export.tflite import write_tflite
from cvserve.models import Built, build_model, find
from cvserve.models.captioning.captioner import Captioner
from cvserve.models.segmentation.segmenter import Segmenter
from cvserve.postproc.decoders.detection import decode_detection_arrays

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A network to be asked. name: of the case; model: of the network, where a case is a variant of it."""

    task: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    image_size: tuple[int, int] = (64, 96)

    def __str__(self) -> str:
        return f"{self.task}/{self.name or self.model}"

    @property
    def num_classes(self) -> int:
        """Of captioning the size of the vocabulary."""
        return 11 if self.task == "captioning" else 5

    def build(self, seed: int = 0, **more: Any) -> Built:
        """Builds the network with random weights that are the same for the same seed."""
        keras.utils.set_random_seed(seed)
        given = {"num_classes": self.num_classes, "image_size": self.image_size, **self.options, **more}
        built = build_model(self.task, self.model, **given)
        if isinstance(built, Captioner) and "weights" not in more:
            # With the scores of a new network every word would be nearly alike.
            for variable in built.decoder.trainable_variables:
                variable.assign(3.0 * variable)
        return built

    def images(self, count: int = 2) -> np.ndarray:
        """Noise with a patch of one color, where windows of equal values are: uint8 [count, H, W, 3]."""
        images = np.random.default_rng(0).integers(0, 256, (count, *self.image_size, 3), np.uint8)
        images[:, 8:40, 8:40] = 90
        return images

    def targets(self) -> tuple[np.ndarray, ...]:
        """Targets of a batch of two images, as the network's loss takes them."""
        return TARGETS[self.task](self)


def _labels(case: Case) -> tuple[np.ndarray, ...]:
    return (np.array([0, 3], np.int32),)


def _objects(case: Case) -> tuple[np.ndarray, ...]:
    height, width = case.image_size
    boxes = np.array([[[10, 10, 50, 60], [60, 5, 90, 60]], [[0, 0, width, height], [0, 0, 0, 0]]], np.float32)
    labels = np.array([[0, 2], [1, -1]], np.int32)
    if not find(case.task, case.model).masks:
        return boxes, labels
    grids = np.random.default_rng(0).integers(0, 256, (2, 2, GRID_SIZE, GRID_SIZE), np.uint8)
    return boxes, labels, boxes, grids


def _class_maps(case: Case) -> tuple[np.ndarray, ...]:
    labels = np.zeros((2, *case.image_size), np.uint8)
    labels[:, 8:40, 8:40] = 3
    return (labels,)


def _sentences(case: Case, length: int = 7) -> tuple[np.ndarray, ...]:
    length = int(case.options.get("length", length))
    tokens = np.random.default_rng(1).integers(UNKNOWN + 1, case.num_classes, (2, length)).astype(np.int32)
    tokens[:, 0], tokens[0, 4:], tokens[1, -1] = START, [END, *[PAD] * (length - 5)], END
    return (tokens,)


TARGETS: dict[str, Callable[[Case], tuple[np.ndarray, ...]]] = {
    "classification": _labels,
    "detection": _objects,
    "segmentation": _class_maps,
    "captioning": _sentences,
}


def ask_outputs(case: Case, built: Built) -> None:
    """Are the outputs those of the task's contract, in shape, dtype and meaning?"""
    assert [(item.name, item.dtype) for item in built.network.inputs] == [("images", "uint8")]
    images = case.images(3)
    outputs = arrays(built.network(images, training=False))
    assert all(len(values) == 3 for values in outputs.values())
    for name, values in outputs.items():
        assert np.isfinite(values).all(), name
        assert values.dtype in (np.float32, np.int32, np.uint8), name
    CONTRACTS[case.task](case, built, outputs)


def _probabilities(case: Case, built: Built, outputs: Arrays) -> None:
    assert {name: values.shape for name, values in outputs.items()} == {"probabilities": (3, case.num_classes)}
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1, atol=1e-5)
    assert built.network.get_layer("logits").output.shape == (None, case.num_classes)


def _boxes(case: Case, built: Built, outputs: Arrays) -> None:
    spec, classes = built.postproc, case.num_classes
    assert spec is not None
    assert spec.boxes is not None
    height, width = case.image_size
    shapes = {name: values.shape[1:] for name, values in outputs.items()}
    if spec.boxes.kind == "boxes":
        count = shapes["boxes"][0]
        masks = shapes["masks"][1:] if "masks" in shapes else None
        expected: dict[str, tuple[int, ...]] = {"boxes": (count, 4), "scores": (count,), "classes": (count,)}
        assert shapes == {**expected, **({"masks": (count, *masks)} if masks else {})}
        assert (np.diff(outputs["scores"], axis=1) <= 0).all()
        assert ("masks" not in outputs) or 0 <= outputs["masks"].min() <= outputs["masks"].max() <= 1
        assert outputs["classes"].dtype == np.int32
    elif spec.boxes.levels:
        count = spec.boxes.boxes
        assert shapes["box_offsets"] == (count, 4)
        assert shapes["class_logits"] == (count, classes + (spec.activation == "softmax"))
        assert set(shapes) - {"objectness"} == {"box_offsets", "class_logits"}
    else:
        count = shapes["proposals"][0]
        assert shapes == {
            "proposals": (count, 4),
            "class_logits": (count, classes + 1),
            "box_offsets": (count, classes, 4),
        }
        assert outputs["proposals"].min() >= 0
        assert (outputs["proposals"].max(axis=(0, 1)) <= np.array([width, height, width, height]) + 1e-3).all()
    for found in decode_detection_arrays(outputs, spec, height, width, score_threshold=0.0):
        assert len(found.boxes) == len(found.scores) == len(found.classes)
        # A new network of one stage may have nothing but boxes without area.
        assert len(found.boxes) or spec.boxes.levels
        assert (found.masks is not None) == find(case.task, case.model).masks
        assert np.isfinite(found.boxes).all()


def _pixels(case: Case, built: Built, outputs: Arrays) -> None:
    assert isinstance(built, Segmenter)
    logits = np.asarray(built.logits(case.images(3), training=False))
    assert logits.shape == (3, *case.image_size, case.num_classes)
    assert logits.dtype == np.float32
    assert outputs["class_map"].dtype == np.uint8
    np.testing.assert_array_equal(outputs["class_map"], logits.argmax(axis=-1))
    relative = np.exp(logits - logits.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(outputs["confidence"], 1 / relative.sum(axis=-1), rtol=1e-4)
    assert built.network.get_layer("logits").output.shape == (None, *case.image_size, case.num_classes)
    assert {v.path for v in built.logits.trainable_variables} == {v.path for v in built.network.trainable_variables}


def _tokens(case: Case, built: Built, outputs: Arrays) -> None:
    assert isinstance(built, Captioner)
    ids, score = outputs["token_ids"], outputs["log_probability"]
    assert (ids.dtype, ids.shape) == (np.int32, (3, built.decoder.length - 1))
    assert ("attention" in outputs) == built.decoder.attends
    if built.decoder.attends:
        assert outputs["attention"].shape == (*ids.shape, *built.grid)
    # The probability of a sentence is the one that teacher forcing gives, tokens that are never chosen included.
    given = np.concatenate([np.full((3, 1), START, np.int32), ids], axis=1)
    logs = tf.nn.log_softmax(built.logits(case.images(3), given))
    own = tf.gather(logs, ids, axis=-1, batch_dims=2).numpy()
    np.testing.assert_allclose((own * (ids != PAD)).sum(axis=1), score, rtol=1e-3)


CONTRACTS: dict[str, Callable[[Case, Built, Arrays], None]] = {
    "classification": _probabilities,
    "detection": _boxes,
    "segmentation": _pixels,
    "captioning": _tokens,
}


def ask_gradients(case: Case, built: Built) -> None:
    """Has every variable that is trained a finite gradient, in one graph for any number of objects?"""
    variables = built.network.trainable_variables

    def step(images: tf.Tensor, *targets: tf.Tensor) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            parts = built.loss(images, *targets)
            total = tf.add_n(list(parts.values()))
        # What the loss trains is the network's, so that an optimizer over its variables misses nothing.
        own = {id(variable.value) for variable in variables}
        assert {id(variable) for variable in tape.watched_variables()} <= own
        return parts, tape.gradient(total, variables)

    targets = case.targets()
    several = 2 if case.task == "detection" else 1  # leading dimensions that differ: batch, and objects
    specs = [
        tf.TensorSpec([None] * several + list(target.shape[several:]), target.dtype, name=f"target_{index}")
        for index, target in enumerate(targets)
    ]
    run = tf.function(step, input_signature=[tf.TensorSpec((None, *case.image_size, 3), tf.uint8), *specs])
    images = case.images()
    parts, gradients = run(images, *targets)
    assert all(np.isfinite(part) and part.dtype == tf.float32 and part.shape == () for part in parts.values())
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), variable.path
    if case.task == "detection":
        padding = [np.full_like(target, -1) if index == 1 else target * 0 for index, target in enumerate(targets)]
        for nothing in ([target[:, :0] for target in targets], padding):
            parts, gradients = run(images, *nothing)
            assert all(np.isfinite(part) for part in parts.values())
            assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)
    assert run.experimental_get_tracing_count() == 1


def ask_learning(case: Case, factor: float = 0.8, steps: int = 20) -> None:
    """Is the loss of one batch, after some steps, less than `factor` times what it was?"""
    built = case.build()
    optimizer = keras.optimizers.Adam(0.003 if case.task == "detection" else 0.01)
    variables = built.network.trainable_variables
    images, targets = tf.constant(case.images()), case.targets()

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.add_n(list(built.loss(images, *targets).values()))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), 10.0)
        optimizer.apply(gradients, variables)
        return loss

    first = float(step())
    for _ in range(steps):
        last = float(step())
    assert last < factor * first, f"{first} became {last}"


def ask_saving(case: Case, built: Built, folder: Path) -> None:
    """Does a saved network answer the same after it is loaded, and does its file fill a new network?"""
    file = folder / "model.keras"
    built.network.save(file)
    loaded = keras.models.load_model(file, compile=False)
    images = case.images()
    expected = arrays(built.network(images, training=False))
    for name, values in arrays(loaded(images, training=False)).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-5, err_msg=name)
    assert [tuple(v.shape) for v in loaded.variables] == [tuple(v.shape) for v in built.network.variables]
    fresh = case.build(seed=1, weights=str(file))
    for ours, theirs in zip(fresh.network.get_weights(), built.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def ask_bfloat16(case: Case) -> None:
    """Are outputs and losses float32 under a bfloat16 policy, and is the network exported in float32?"""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        built = case.build()
    finally:
        keras.config.set_dtype_policy(policy)
    images = case.images()
    outputs = built.network(images, training=False)
    assert not {values.dtype for values in outputs.values()} & {tf.bfloat16, tf.float16}
    parts = built.loss(tf.constant(images), *case.targets())
    assert all(np.isfinite(part) and part.dtype == tf.float32 for part in parts.values())
    exported = _network(case, built).answers(images)
    plain = case.build().network
    plain.set_weights(built.network.get_weights())
    for name, values in arrays(plain(images, training=False)).items():
        np.testing.assert_allclose(exported[name], values, atol=1e-5, err_msg=name)


def ask_formats(case: Case, built: Built, folder: Path) -> None:
    """Do SavedModel, ONNX and TFLite answer as Keras does?"""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    network = _network(case, built)
    images = case.images(3)
    expected = network.answers(images)
    write_saved_model(network, folder / "saved")
    serving = tf.saved_model.load(str(folder / "saved")).signatures["serving_default"]
    session = onnxruntime.InferenceSession(str(write_onnx(network, folder / "model.onnx")))
    names = [output.name for output in session.get_outputs()]
    interpreter = Interpreter(str(write_tflite(folder / "saved", folder / "model.tflite")))
    found = {
        "saved_model": arrays(serving(images=tf.constant(images))),
        "onnx": dict(zip(names, session.run(names, {"images": images}), strict=True)),
        "tflite": interpreter.get_signature_runner("serving_default")(images=images),
    }
    for which, outputs in found.items():
        assert set(outputs) == set(expected), which
        assert {name: values.dtype for name, values in outputs.items()} == {
            name: values.dtype for name, values in expected.items()
        }, which
        SAME[case.task](case, built, expected, outputs, which)


def _same_probabilities(case: Case, built: Built, expected: Arrays, outputs: Arrays, which: str) -> None:
    np.testing.assert_allclose(outputs["probabilities"], expected["probabilities"], atol=1e-4, err_msg=which)


def _same_boxes(case: Case, built: Built, expected: Arrays, outputs: Arrays, which: str) -> None:
    spec = built.postproc
    assert spec is not None
    assert spec.boxes is not None
    if spec.boxes.levels:
        for name, values in expected.items():
            np.testing.assert_allclose(outputs[name], values, rtol=1e-3, atol=1e-3, err_msg=f"{which} {name}")
        return
    # Proposals of equal scores may come in another order, so the objects that are found are compared.
    wanted, found = (
        decode_detection_arrays(answers, spec, *case.image_size, score_threshold=0.1, iou_threshold=0.5)
        for answers in (expected, outputs)
    )
    assert all(len(item.boxes) for item in wanted)
    for mine, other in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(other.classes, mine.classes, err_msg=which)
        np.testing.assert_allclose(other.boxes, mine.boxes, atol=1e-2, err_msg=which)
        np.testing.assert_allclose(other.scores, mine.scores, atol=1e-4, err_msg=which)
        if mine.masks is not None:
            assert other.masks is not None
            np.testing.assert_allclose(other.masks, mine.masks, atol=1e-3, err_msg=which)


def _same_pixels(case: Case, built: Built, expected: Arrays, outputs: Arrays, which: str) -> None:
    np.testing.assert_allclose(outputs["confidence"], expected["confidence"], atol=1e-3, err_msg=which)
    assert np.mean(outputs["class_map"] == expected["class_map"]) > 0.995, which


def _same_tokens(case: Case, built: Built, expected: Arrays, outputs: Arrays, which: str) -> None:
    np.testing.assert_array_equal(outputs["token_ids"], expected["token_ids"], err_msg=which)
    np.testing.assert_allclose(outputs["log_probability"], expected["log_probability"], atol=1e-3, err_msg=which)


SAME: dict[str, Callable[[Case, Built, Arrays, Arrays, str], None]] = {
    "classification": _same_probabilities,
    "detection": _same_boxes,
    "segmentation": _same_pixels,
    "captioning": _same_tokens,
}


def arrays(outputs: Mapping[str, Any]) -> Arrays:
    """Returns tensors as numpy arrays."""
    return {name: np.asarray(values) for name, values in outputs.items()}


def parameters_of(network: keras.Model) -> int:
    """Returns how many numbers a network learns."""
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


def _network(case: Case, built: Built) -> Network:
    height, width = case.image_size
    return Network(built.network, PreprocSpec(height=height, width=width, resize="exact"))
