"""Asks every registered network the questions of `questions.py`: a few networks in each run, all in `make test-all`."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from models import questions
from models.cases import SMALL, VARIANTS, small
from models.questions import Case

from cvserve.models import Built, ModelEntry, build_model, create_model, list_entries
from cvserve.models.tasks import MODEL_TASKS

# Asked in every run: a network of each task and kind. `make test-all` asks all; the unpooling layers of deconvnet and
# segnet have tests of their own, and captioners are exported in captioning/test_captioner_exports.py.
ALWAYS = {
    "classification/mobilenet_v2",
    "classification/resnet20",
    "detection/yolo",
    "detection/retinanet",
    "detection/mask_rcnn",
    "segmentation/unet",
    "captioning/show_attend_tell",
}

# Not asked, by pattern: the same layers as another network that is asked, only more of them.
DEEPER = {
    "classification/convnext_small": "convnext_tiny",
    "classification/convnext_base": "convnext_tiny",
    "classification/densenet169": "densenet121",
    "classification/densenet201": "densenet121",
    "classification/efficientnet_b[1-7]": "efficientnet_b0",
    "classification/efficientnet_v2_b[1-3]": "efficientnet_v2_b0",
    "classification/efficientnet_v2_[sml]": "efficientnet_v2_b0",
    "classification/mobilenet_v3_large": "mobilenet_v3_small",
    "classification/nasnet_large": "nasnet_mobile",
    "classification/resnet101": "resnet50",
    "classification/resnet152": "resnet50",
    "classification/resnet101_v2": "resnet50_v2",
    "classification/resnet152_v2": "resnet50_v2",
    "classification/vgg19": "vgg16",
}

# Questions that a network is not asked, by pattern, and why.
EXCLUDED: dict[str, dict[str, str]] = {
    "formats": {"captioning/*": "asked in one call and step by step in captioning/test_captioner_exports.py"},
    "learning": {
        "captioning/*": "a captioner that learns its sentences: tests/training",
        "detection/*rcnn*": "regions are drawn anew in each step; learning by heart: detection/test_two_stage.py",
        "classification/*": "a classifier that learns its images: tests/training",
        "*, *": "as the network without these options",
        "* of *": "as the network of another backbone",
        "* as published": "without normalisation nothing is learned in so few steps",
        "*deeplabv3* at *": "as with the other stride",
        "*dilated with *": "as with the other context",
    },
}
FACTORS = {"segmentation": 0.6, "detection": 0.8}

ENTRIES = list_entries()
CASES = [small(entry.task, entry.name) for entry in ENTRIES] + [small(*key) for key in VARIANTS]


def asked() -> list[Any]:
    """Returns the cases as parameters, those that are not in `ALWAYS` with the mark thorough."""
    chosen = [case for case in CASES if not any(fnmatchcase(str(case), pattern) for pattern in DEEPER)]
    return [
        pytest.param(case, id=str(case), marks=() if str(case) in ALWAYS else pytest.mark.thorough) for case in chosen
    ]


def skip_if_excluded(question: str, case: Case) -> None:
    for pattern, reason in EXCLUDED[question].items():
        if fnmatchcase(str(case), pattern):
            pytest.skip(reason)


@pytest.fixture(scope="module", params=asked())
def case(request: pytest.FixtureRequest) -> Case:
    """A network with options. All questions are asked of one before the next is built."""
    return request.param


@pytest.fixture(scope="module")
def built(case: Case) -> Built:
    return case.build()


def test_the_outputs_are_those_of_the_contract(case: Case, built: Built) -> None:
    questions.ask_outputs(case, built)


def test_a_saved_network_answers_the_same_and_fills_another(case: Case, built: Built, tmp_path: Path) -> None:
    questions.ask_saving(case, built, tmp_path)


@pytest.mark.slow
def test_all_formats_answer_the_same(case: Case, built: Built, tmp_path: Path) -> None:
    skip_if_excluded("formats", case)
    questions.ask_formats(case, built, tmp_path)


def test_everything_that_is_trained_has_a_gradient(case: Case, built: Built) -> None:
    questions.ask_gradients(case, built)


def test_bfloat16_answers_float32(case: Case) -> None:
    questions.ask_bfloat16(case)


@pytest.mark.slow
def test_a_few_steps_lower_the_loss(case: Case) -> None:
    skip_if_excluded("learning", case)
    questions.ask_learning(case, FACTORS[case.task])


def test_the_lists_above_name_registered_networks() -> None:
    names = {str(case) for case in CASES}
    assert names >= ALWAYS
    assert {f"{task}/{name}" for task, name in SMALL} <= names
    for pattern, other in DEEPER.items():
        assert any(fnmatchcase(name, pattern) for name in names), pattern
        assert f"classification/{other}" in names
    for patterns in EXCLUDED.values():
        for pattern in patterns:
            assert any(fnmatchcase(name, pattern) for name in names), pattern


COUNTED_ALWAYS = {"resnet20", "yolo", "show_and_tell"}


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(
            entry, id=f"{entry.task}/{entry.name}", marks=() if entry.name in COUNTED_ALWAYS else pytest.mark.thorough
        )
        for entry in ENTRIES
    ],
)
def test_the_parameters_that_are_listed_are_those_of_the_network(entry: ModelEntry) -> None:
    network = create_model(entry.task, entry.name, num_classes=MODEL_TASKS[entry.task].counted)
    assert questions.parameters_of(network) == entry.parameters


# Millions, as papers give them for 1000 classes (their own heads are those of the classifiers here).
PUBLISHED = {
    "convnext_tiny": (28.6, "torchvision 28,589,128"),
    "convnext_base": (88.6, "torchvision 88,591,464"),
    "densenet121": (8.0, "torchvision 7,978,856"),
    "densenet201": (20.0, "torchvision 20,013,928"),
    "efficientnet_b0": (5.3, "Tan & Le 2019, table 2"),
    "efficientnet_b7": (66, "Tan & Le 2019, table 2"),
    "mobilenet": (4.2, "Howard et al. 2017, table 8"),
    "mobilenet_v2": (3.5, "torchvision 3,504,872"),
    "nasnet_mobile": (5.3, "Zoph et al. 2017, table 3"),
    "nasnet_large": (88.9, "Zoph et al. 2017, table 2"),
    "resnet18": (11.7, "torchvision 11,689,512"),
    "resnet34": (21.8, "torchvision 21,797,672"),
    "resnet50": (25.6, "torchvision 25,557,032"),
    "resnet152": (60.2, "torchvision 60,192,808"),
    "xception": (22.9, "Chollet 2016, table 3"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_published(name: str) -> None:
    """With `test_the_parameters_that_are_listed_...`: of the networks themselves."""
    millions, _ = PUBLISHED[name]
    entry = next(entry for entry in ENTRIES if (entry.task, entry.name) == ("classification", name))
    assert entry.parameters is not None
    assert entry.parameters / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(
    ("task", "name", "options", "millions"),
    [
        ("classification", "resnet20", {"num_classes": 10}, 0.27),  # He et al. 2015, table 6
        ("segmentation", "segnet", {"num_classes": 12, "image_size": 32, "width": 64}, 29.5),  # arXiv 1511.00561
        ("detection", "ssd", {"num_classes": 20, "normalized": False}, 26.3),  # torchvision, and the authors' 26.2
    ],
)
def test_a_network_of_the_papers_options_has_the_papers_parameters(
    task: str, name: str, options: dict[str, Any], millions: float
) -> None:
    network = build_model(task, name, **options).network
    assert questions.parameters_of(network) / 1e6 == pytest.approx(millions, rel=0.01)


def test_every_network_names_its_source() -> None:
    for entry in ENTRIES:
        assert entry.summary, entry.name
        assert entry.paper is not None, entry.name
        assert 2010 < entry.paper.year < 2030, entry.name
