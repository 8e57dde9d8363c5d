"""The questions asked of every segmentation network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from thoroughness import each

from cvserve.artifact import PreprocSpec
from cvserve.errors import InvalidInput
from cvserve.export.network import Network
from cvserve.export.onnx import write_onnx
from cvserve.export.saved_model import write_saved_model
from cvserve.export.tflite import write_tflite
from cvserve.models import build_model, create_model, list_models
from cvserve.models.segmentation.segmenter import Segmenter

SIZE = (64, 96)
CLASSES = 5
_RESNET = {"backbone_options": {"width": 4}}
_VGG = {"backbone_options": {"width": 4}, "hidden": 8, "dropout": 0.0}
# The smallest of each that has all of its parts.
SMALL: dict[str, dict[str, Any]] = {
    "unet": {**_RESNET, "width": 8, "dropout": 0.0},
    "fcn32s": _VGG,
    "fcn16s": _VGG,
    "fcn8s": _VGG,
    "segnet": {"width": 4},
    "deconvnet": {"width": 4, "hidden": 8},
    "deeplabv3": {**_RESNET, "channels": 8, "rates": (1, 2), "dropout": 0.0},
    "deeplabv3plus": {**_RESNET, "channels": 8, "rates": (1, 2), "low_channels": 4, "dropout": 0.0},
    "dilated": {**_RESNET, "channels": 8, "dropout": 0.0},
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "unet of vgg16, as published": (
        "unet",
        {"backbone": "vgg16", "backbone_options": {"width": 4}, "width": 4, "depth": 2, "finest": 1},
    ),
    "unet of csp, transposed": (
        "unet",
        {"backbone": "csp", "backbone_options": {"width": 4}, "upsampling": "transposed"},
    ),
    "unet of mobilenet_v2": (
        "unet",
        {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}, "width": 4, "finest": 4},
    ),
    "unet of resnet18, every stride": ("unet", {**_RESNET, "width": 4, "finest": 1}),
    "fcn8s of resnet18": ("fcn8s", {**_RESNET, "backbone": "resnet18", "hidden": 8, "learned_enlarging": True}),
    "segnet of four blocks": ("segnet", {"width": 4, "blocks": (1, 1, 2, 1)}),
    "deeplabv3 at stride 8": ("deeplabv3", {**SMALL["deeplabv3"], "output_stride": 8}),
    "deeplabv3plus at stride 8": ("deeplabv3plus", {**SMALL["deeplabv3plus"], "output_stride": 8}),
    "dilated with the large context": ("dilated", {**SMALL["dilated"], "context": "large", "channels": 4}),
    "dilated front end of vgg16, as published": (
        "dilated",
        {
            "backbone": "vgg16",
            "backbone_options": {"width": 4, "normalised": False},
            "hidden": 8,
            "context": "none",
            "dropout": 0.0,
        },
    ),
    "dilated of vgg16": ("dilated", {**SMALL["dilated"], "backbone": "vgg16", "hidden": 8}),
    "deeplabv3 of vgg16": ("deeplabv3", {**SMALL["deeplabv3"], "backbone": "vgg16"}),
}
ALL = {**{name: (name, options) for name, options in SMALL.items()}, **OTHERS}


def _small(name: str, image_size: tuple[int, int] = SIZE, **more: Any) -> Segmenter:
    model, options = ALL[name]
    keras.utils.set_random_seed(0)
    return build_model("segmentation", model, num_classes=CLASSES, image_size=image_size, **{**options, **more})


def _images(count: int = 2, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Noise, with a patch of one colour: windows of equal values for the switches."""
    images = np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)
    images[:, 8:40, 8:40] = 90
    return images


def test_every_registered_network_is_asked() -> None:
    assert sorted(SMALL) == list_models("segmentation")


@pytest.mark.parametrize("name", ALL)
def test_answers_are_those_of_the_contract(name: str) -> None:
    built = _small(name)
    logits = np.asarray(built.logits(_images(3), training=False))
    answers = built.network(_images(3), training=False)
    assert logits.shape == (3, *SIZE, CLASSES)
    assert logits.dtype == np.float32
    assert answers["class_map"].dtype == tf.uint8
    np.testing.assert_array_equal(answers["class_map"], logits.argmax(axis=-1))
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(answers["confidence"], 1 / shares.sum(axis=-1), rtol=1e-4)
    assert built.network.get_layer("logits").output.shape == (None, *SIZE, CLASSES)


@pytest.mark.parametrize("name", ALL)
def test_everything_that_is_trained_has_a_gradient(name: str) -> None:
    built = _small(name)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(built.logits(_images(), training=True) * tf.range(CLASSES, dtype=tf.float32))
    variables = built.logits.trainable_variables
    assert {v.path for v in variables} == {v.path for v in built.network.trainable_variables}
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path


@pytest.mark.slow
@pytest.mark.parametrize("name", each(SMALL, always=("unet", "segnet")))
def test_a_few_steps_lower_the_loss(name: str) -> None:
    built = _small(name)
    optimizer = keras.optimizers.Adam(0.01)
    images = tf.constant(_images())
    labels = np.zeros((2, *SIZE), np.int32)
    labels[:, 8:40, 8:40] = 3

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = built.logits(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        variables = built.logits.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    first = float(step())
    for _ in range(20):
        last = float(step())
    assert last < 0.6 * first


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    each(
        [
            *SMALL,
            "unet of csp, transposed",
            "unet of vgg16, as published",
            "deeplabv3 at stride 8",
            "fcn8s of resnet18",
        ],
        always=("unet", "deconvnet", "deeplabv3plus", "dilated"),
    ),
)
def test_exports_to_onnx_and_tflite(name: str, tmp_path: Path) -> None:
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    network = Network(_small(name).network, PreprocSpec(height=SIZE[0], width=SIZE[1], resize="letterbox"))
    images = _images(3)
    expected = network.answers(images)
    session = onnxruntime.InferenceSession(str(write_onnx(network, tmp_path / "model.onnx")))
    names = [output.name for output in session.get_outputs()]
    answers = {"onnx": dict(zip(names, session.run(names, {"images": images}), strict=True))}
    write_saved_model(network, tmp_path / "saved")
    interpreter = Interpreter(str(write_tflite(tmp_path / "saved", tmp_path / "model.tflite")))
    answers["tflite"] = interpreter.get_signature_runner("serving_default")(images=images)
    for kind, found in answers.items():
        np.testing.assert_allclose(found["confidence"], expected["confidence"], atol=1e-3, err_msg=kind)
        assert found["class_map"].dtype == np.uint8
        assert np.mean(found["class_map"] == expected["class_map"]) > 0.995, kind


@pytest.mark.parametrize("name", SMALL)
def test_a_run_fills_a_new_network(name: str, tmp_path: Path) -> None:
    trained = _small(name)
    trained.network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    for role, values in loaded(_images(), training=False).items():
        np.testing.assert_allclose(values, trained.network(_images(), training=False)[role], atol=1e-5)
    model, options = ALL[name]
    keras.utils.set_random_seed(1)
    fresh = build_model(
        "segmentation", model, num_classes=CLASSES, image_size=SIZE, weights=str(tmp_path / "model.keras"), **options
    )
    for ours, theirs in zip(fresh.network.get_weights(), trained.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", SMALL)
def test_other_sizes_keep_the_weights(name: str, tmp_path: Path) -> None:
    """The network of one size fills that of another, the smallest, and the default one."""
    trained = _small(name)
    trained.network.save_weights(tmp_path / "model.weights.h5")
    for size in ((32, 32), (96, 64)):
        other = _small(name, size)
        other.network.load_weights(tmp_path / "model.weights.h5")
        assert other.network(_images(1, (size[0], size[1])), training=False)["class_map"].shape == (1, *size)


def test_bfloat16_answers_float32() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        networks = {name: _small(name) for name in ALL if name != "unet of mobilenet_v2"}
    finally:
        keras.config.set_dtype_policy(policy)
    for name, built in networks.items():
        logits = built.logits(_images(), training=True)
        assert logits.dtype == tf.float32, name
        assert np.isfinite(logits).all(), name


def test_the_pixels_see_what_they_should() -> None:
    """fcn32s holds its last enlarging at bilinear interpolation, unless told otherwise."""
    fixed, learned = (_small("fcn32s", learned_enlarging=value) for value in (False, True))
    assert "enlarged/kernel" not in {variable.path for variable in fixed.network.trainable_variables}
    assert "enlarged/kernel" in {variable.path for variable in learned.network.trainable_variables}


@pytest.mark.parametrize("context", ["basic", "large"])
def test_a_context_module_stops_no_class(context: str) -> None:
    """A class whose scores are below zero everywhere, which the module's ReLUs would stop, can still be learned."""
    logits = build_model(
        "segmentation", "dilated", num_classes=3, image_size=SIZE, **{**SMALL["dilated"], "context": context}
    ).logits
    scores = logits.get_layer("scores")
    scores.bias.assign([0.0, 0.0, -1e3])
    images = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), np.uint8)
    inside = [logits.get_layer(name).kernel for name in ("reduced_conv", "context_1", "context_8")]
    with tf.GradientTape() as tape:
        told = tf.reduce_mean(logits(images, training=True)[..., 2])
    assert told < -900
    to_bias, *to_kernels = tape.gradient(told, [weights.value for weights in (scores.bias, scores.kernel, *inside)])
    assert float(to_bias[2]) == pytest.approx(1.0, rel=1e-4)
    for gradient in to_kernels:
        assert np.abs(gradient).max() > 1e-3


def test_a_new_context_module_passes_on_all_features() -> None:
    logits = build_model("segmentation", "dilated", num_classes=3, image_size=SIZE, **SMALL["dilated"]).logits
    ends = [logits.get_layer(name).output for name in ("reduced_relu", "context_8")]
    images = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), np.uint8)
    before, after = keras.Model(logits.inputs, ends)([images], training=True)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
    assert (np.asarray(before).max(axis=(0, 1, 2)) > 0.5).all()


@pytest.mark.parametrize("stride", [8, 16])
def test_dilated_vgg16_keeps_its_weights_and_sees_as_far(stride: int) -> None:
    """Yu & Koltun's front end: of the poolings that are left out, each doubles the dilation of what is behind it."""
    from cvserve.models.backbones import backbone_features

    images = keras.Input((128, 128, 3), dtype="uint8")
    whole, dilated = (backbone_features(images, "vgg16", width=4, output_stride=beyond) for beyond in (32, stride))
    assert dilated[stride].shape == (None, 128 // stride, 128 // stride, 32)
    assert max(dilated) == stride
    plain, other = (keras.Model(images, list(stages.values())) for stages in (whole, dilated))
    named = [
        {layer.name: [weight.shape for weight in layer.weights] for layer in model.layers if layer.weights}
        for model in (plain, other)
    ]
    assert named[0] == named[1]
    rates = [layer.dilation_rate[0] for layer in other.layers if hasattr(layer, "kernel")]
    assert rates == {8: [1] * 10 + [2] * 3, 16: [1] * 13}[stride]


@pytest.mark.parametrize("name", ["dilated", "deeplabv3"])
def test_a_vgg16_of_another_run_fills_a_dilated_one(name: str, tmp_path: Path) -> None:
    vgg16 = {"backbone": "vgg16", "backbone_options": {"width": 4}}
    other = build_model("segmentation", "fcn8s", num_classes=3, image_size=SIZE, **SMALL["fcn8s"]).network
    file = tmp_path / "fcn8s.keras"
    other.save(file)
    options = {**SMALL[name], **vgg16}
    filled = build_model("segmentation", name, num_classes=4, image_size=SIZE, weights=str(file), **options).network
    for layer in ("block1_conv1", "block5_conv3"):
        np.testing.assert_array_equal(filled.get_layer(layer).kernel, other.get_layer(layer).kernel)


@pytest.mark.parametrize("stride", [8, 16])
def test_dilated_backbones_see_as_far(stride: int) -> None:
    """The last map is as large as asked, and its pixels look as far as those of stride 32 did, or further."""
    from cvserve.models.backbones import backbone_features

    images = keras.Input((128, 128, 3), dtype="uint8")
    dilated = backbone_features(images, "resnet18", width=4, output_stride=stride)
    assert max(dilated) == stride
    assert dilated[stride].shape == (None, 128 // stride, 128 // stride, 32)
    weights = [layer.dilation_rate for layer in keras.Model(images, dilated[stride]).layers if hasattr(layer, "kernel")]
    assert max(weights) == (32 // stride, 32 // stride)


def test_published_sizes() -> None:
    """VGG16's 14.71 M weights and biases make half of SegNet; its authors' own count is 29.5 M (arXiv 1511.00561)."""
    segnet = build_model("segmentation", "segnet", num_classes=12, image_size=32, width=64)
    assert round(segnet.network.count_params() / 1e6, 1) == 29.5


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("unet", {"image_size": 100}, "multiples of 32 pixels, not 100 x 100"),
        ("unet", {"num_classes": 1}, "from 2 to 255 classes, not 1"),
        ("unet", {"finest": 3}, "finest stride of 1, 2 or 4 pixels, not 3"),
        ("unet", {"width": 0}, "width of at least 4"),
        ("unet", {"upsampling": "cubic"}, "no upsampling 'cubic'; known: nearest, transposed"),
        ("unet", {"dropout": 1}, "dropout from 0 to below 1, not 1"),
        ("unet", {"backbone": "resnet18x"}, "no backbone 'resnet18x'"),
        ("unet", {"backbone_options": [1]}, "names with values"),
        ("unet", {"backbone_options": {"widht": 4}}, "takes no option 'widht'"),
        ("unet", {"depht": 4}, "takes no such option: 'depht'"),
        ("fcn8s", {"hidden": 2.5}, "hidden of at least 8, a whole number, not 2.5"),
        ("fcn8s", {"finest": 4}, "takes no such option: 'finest'"),
        ("fcn16s", {"backbone_options": {"width": 16}, "weights": "imagenet"}, "width of 64"),
        ("segnet", {"blocks": (2, 0)}, "blocks as some whole numbers above 0"),
        ("segnet", {"blocks": (1,) * 6}, "up to five blocks, not 6"),
        ("segnet", {"weights": "imagenet"}, "segnet has no imagenet weights"),
        ("deconvnet", {"hidden": 0}, "hidden of at least 8"),
        ("deeplabv3", {"has_decoder": True}, "takes no such option: 'has_decoder'"),
        ("deeplabv3", {"output_stride": 4}, "output_stride of 16 or 8, not 4"),
        ("deeplabv3plus", {"backbone": "csp"}, "can be dilated \\(known: resnet18, resnet34, vgg16\\), not 'csp'"),
        ("deeplabv3plus", {"weights": "imagenet"}, "imagenet weights for the backbone vgg16 with a width of 64 only"),
        ("deeplabv3", {"backbone_options": {"output_stride": 8}}, "sets its backbone's output_stride itself"),
        ("deeplabv3plus", {"rates": ()}, "rates as some whole numbers above 0"),
        ("dilated", {"backbone": "darknet"}, "can be dilated .*, not 'darknet'"),
        ("dilated", {"hidden": 16}, "hidden layers behind vgg16 only, not behind resnet18"),
        ("unet", {"backbone_options": {"output_stride": 12}}, "a power of two as output_stride, not 12"),
        ("dilated", {"backbone": "vgg16", "weights": "imagenet"}, "width of 64"),
        ("dilated", {"channels": 2}, "channels of at least 4"),
        ("dilated", {"context": "huge"}, "no context 'huge'; known: basic, large, none"),
    ],
)
def test_what_cannot_be_is_one_sentence(name: str, options: dict[str, Any], sentence: str) -> None:
    given = {"num_classes": CLASSES, "image_size": SIZE, **options}
    with pytest.raises(InvalidInput, match=sentence):
        build_model("segmentation", name, **given)


def test_it_is_a_model_like_all_others() -> None:
    network = create_model("segmentation", "unet", num_classes=3, image_size=32, **SMALL["unet"])
    assert set(network.output) == {"class_map", "confidence"}
