"""The catalogue: names, sizes, and the errors of unknown names and options."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cvserve.errors import InvalidInput
from cvserve.models import create_model, default_preproc, find, list_models


def test_lists_names_by_task_and_pattern() -> None:
    names = list_models("classification")
    assert {"resnet18", "resnet34", "resnet20", "mobilenet_v2", "efficientnet_b0"} <= set(names)
    assert list_models("classification", "resnet*8") == ["resnet18"]
    assert names == sorted(names)


def test_the_error_of_an_unknown_name_has_the_nearest() -> None:
    with pytest.raises(InvalidInput, match="did you mean 'resnet18'"):
        find("classification", "resnet-18")
    with pytest.raises(InvalidInput, match="did you mean 'classification'"):
        find("clasification", "resnet18")


def test_default_preprocessing_is_the_networks_own_size() -> None:
    assert default_preproc("classification", "resnet20").height == 32
    assert default_preproc("classification", "resnet18", (96, 128)).width == 128


def test_unknown_option_is_named() -> None:
    options = "width, stem, shortcut, output_stride, dropout"
    with pytest.raises(InvalidInput, match=f"^resnet18 takes no option 'depth', only {options}$"):
        create_model("classification", "resnet18", num_classes=2, depth=3)
    with pytest.raises(InvalidInput, match="takes no option 'depth'"):
        create_model("classification", "mobilenet_v2", num_classes=2, image_size=32, depth=3)


def test_an_option_of_unknown_value_is_named() -> None:
    with pytest.raises(InvalidInput, match="resnet18 has no stem 'conv3'; known: conv7, deep, cifar"):
        create_model("classification", "resnet18", num_classes=2, stem="conv3")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"width": "wide"}, "width of at least 2 channels, a whole number, not 'wide'"),
        ("resnet20", {"width": 2.5}, "a whole number, not 2.5"),
        ("resnet20", {"dropout": 2}, "dropout must be a number from 0 to below 1, not 2"),
        ("resnet18", {"blocks": [1]}, "resnet18 takes no option 'blocks'"),
        ("mobilenet_v2", {"alpha": "thin"}, "mobilenet_v2 cannot be built with alpha: 'thin': "),
    ],
)
def test_an_option_that_cannot_be_used_is_named(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        create_model("classification", name, num_classes=2, image_size=32, **options)
    assert "\n" not in str(caught.value)


def test_resnets_have_no_imagenet_weights() -> None:
    with pytest.raises(InvalidInput, match="resnet50"):
        create_model("classification", "resnet18", num_classes=2, weights="imagenet")


def test_options_of_earlier_runs_keep_their_names() -> None:
    """Settings and runs of earlier versions have "normalised", of the network or of its backbone."""
    options = {"backbone_options": {"width": 4, "normalised": False}, "normalised": False}
    former = create_model("detection", "ssd", num_classes=2, image_size=64, **options)
    assert not [layer.name for layer in former.layers if type(layer).__name__ == "BatchNormalization"]


def test_a_vgg16_classifier_stays_that_of_keras() -> None:
    model = create_model("classification", "vgg16", num_classes=3, image_size=32)
    assert [layer.name for layer in model.layers if layer.name == "vgg16"]
    assert model.name == "vgg16_classifier"


@pytest.mark.parametrize(("task", "count"), [("segmentation", 1), ("segmentation", 256), ("captioning", 4)])
def test_a_number_of_classes_that_the_task_cannot_have(task: str, count: int) -> None:
    with pytest.raises(InvalidInput, match=f"a {task} model has .*, not {count}"):
        create_model(task, list_models(task)[0], num_classes=count)


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_networks_of_one_task_are_known_in_a_fresh_process(task: str) -> None:
    """A classifier is registered with its backbone, so nothing else may be needed to import those."""
    code = f"from cvserve.models import list_models; print(*list_models({task!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == list_models(task)
