"""When two answers are the same: objects paired, ties at the threshold forgiven, faults not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from cvserve.artifact import DetectionParity, DetectionPostproc, FileEntry, Graph, Manifest, OutputSpec, PreprocSpec
from cvserve.errors import ArtifactError, ExportError
from cvserve.export.comparison.detection import Tolerance, match
from cvserve.export.parity import ParityImages, check_parity
from cvserve.export.task_export import TASK_EXPORTS
from cvserve.postproc.decoders.detection import DecodedObjects

EXPORT = TASK_EXPORTS["detection"]
TOLERANCE = 1e-4

BOX = (10.0, 10.0, 30.0, 40.0)


def found(*objects: tuple[tuple[float, ...], float, int]) -> Any:
    """Boxes, scores and classes as `decode_detection_arrays` gives them."""
    return DecodedObjects(
        np.array([item[0] for item in objects], np.float32).reshape(-1, 4),
        np.array([item[1] for item in objects], np.float32),
        np.array([item[2] for item in objects], np.int32),
    )


def pair(got: Any, wanted: Any, most: int = 100) -> Any:
    return match(got, wanted, Tolerance(), threshold=0.25, most=most)


@pytest.mark.parametrize(
    ("got", "unmatched", "pairs"),
    [
        ([(BOX, 0.8, 1)], 0, 1),
        # A hair apart.
        ([((10.02, 10.0, 30.0, 40.01), 0.8005, 1)], 0, 1),
        # Another class, another place, another score: on both sides one too many.
        ([(BOX, 0.8, 0)], 2, 0),
        ([((11.0, 10.0, 31.0, 40.0), 0.8, 1)], 2, 0),
        ([(BOX, 0.81, 1)], 2, 0),
        ([], 1, 0),
        # Twice the same: one partner each.
        ([(BOX, 0.8, 1), (BOX, 0.8, 1)], 1, 1),
        # Above the threshold on one side only, and by a hair.
        ([(BOX, 0.8, 1), ((50.0, 50.0, 60.0, 60.0), 0.2505, 1)], 0, 1),
        ([(BOX, 0.8, 1), ((50.0, 50.0, 60.0, 60.0), 0.26, 1)], 1, 1),
    ],
)
def test_partners(got: Any, unmatched: int, pairs: int) -> None:
    matching = pair(found(*got), found((BOX, 0.8, 1)))
    assert (matching.unmatched, len(matching.ious)) == (unmatched, pairs)
    assert matching.objects == 1 + len(got)
    # And the other way round.
    assert pair(found((BOX, 0.8, 1)), found(*got)).unmatched == unmatched


def test_the_last_of_a_full_list_may_be_another() -> None:
    first, one, other = (BOX, 0.8, 1), ((50.0, 50.0, 60.0, 60.0), 0.5, 1), ((70.0, 70.0, 80.0, 80.0), 0.5, 1)
    assert pair(found(first, one), found(first, other), most=2).unmatched == 0
    assert pair(found(first, one), found(first, other), most=3).unmatched == 2


def test_each_takes_the_free_partner_that_overlaps_it_most() -> None:
    near, nearer = (10.0, 10.0, 30.0, 40.1), (10.0, 10.0, 30.0, 40.01)
    matching = pair(found((near, 0.8, 1), (nearer, 0.8, 1)), found((BOX, 0.8, 1)))
    assert matching.ious.tolist() == pytest.approx([600 / 600.2], abs=1e-5)


def manifest(roles: Iterable[str] = ("box_offsets", "class_logits"), **postproc: Any) -> Manifest:
    spec = {
        "activation": "sigmoid",
        "boxes": {"kind": "distances", "levels": [{"rows": 2, "columns": 2}]},
        "iou_threshold": 0.5,
    }
    return Manifest(
        name="two_by_two",
        version=1,
        task="detection",
        labels=("cat", "dog"),
        preproc=PreprocSpec(height=32, width=32, resize="exact"),
        outputs=tuple(OutputSpec(name=role, role=role) for role in roles),
        postproc=DetectionPostproc.model_validate(spec | postproc),
        graphs=(Graph(format="onnx", files=(FileEntry(path="model.onnx", bytes=0, sha256="0" * 64),)),),
    )


def outputs(images: int = 3) -> dict[str, np.ndarray]:
    """Makes one object in each cell of each image, with offsets up to 400 cells and logits up to 50."""
    random = np.random.default_rng(0)
    offsets = np.full((images, 4, 4), 0.4, np.float32)
    offsets[0, 0, 3] = 400
    logits = random.uniform(1, 3, (images, 4, 2)).astype(np.float32)
    logits[:, 0, 0] = 50
    return {"box_offsets": offsets, "class_logits": logits}


class Shifted:
    """Returns given outputs, whatever the images."""

    def __init__(self, answers: dict[str, np.ndarray]) -> None:
        self.answers = answers
        self.inputs = {"images": None}
        self.at = 0

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        start, self.at = self.at, self.at + len(inputs["images"])
        if self.at == len(self.answers["box_offsets"]):
            self.at = 0
        return {name: values[start : start + len(inputs["images"])] for name, values in self.answers.items()}


def check(answers: dict[str, np.ndarray]) -> DetectionParity:
    images = np.zeros((3, 32, 32, 3), np.uint8)
    graph: Any = Shifted(answers)
    asked = ParityImages(images, ["a", "b", "c"], outputs())
    return check_parity(graph, asked, EXPORT.comparison(manifest(), TOLERANCE), what="the onnx graph")


def test_differences_are_relative_to_an_output() -> None:
    """400 cells and a rounding of float32: 0.02 of them are no fault, 0.2 are."""
    answers = outputs()
    answers["box_offsets"][0, 0, 3] += 0.02
    parity = check(answers)
    assert parity.holds
    assert parity.max_abs_difference == pytest.approx(0.02 / 400, rel=1e-2)
    assert (parity.agreement, parity.unmatched, parity.objects) == (1.0, 0.0, 24)
    assert parity.box_iou == pytest.approx(1.0)
    answers["box_offsets"][0, 0, 3] += 0.2
    with pytest.raises(ExportError, match=r"the onnx graph answers differently: an output, .* of a is 0\.0005"):
        check(answers)


def test_a_graph_whose_objects_differ_does_not_hold() -> None:
    """As of two stages, whose raw outputs are not compared."""
    parity = DetectionParity(
        images=3, max_abs_difference=0.0, agreement=0.5, limit=1e-3, unmatched=0.03, unmatched_limit=0.02
    )
    assert not parity.holds
    assert parity.model_copy(update={"unmatched": 0.02}).holds
    assert parity.model_copy(update={"unmatched_limit": None}).holds


def test_another_order_counts_only_where_there_is_one() -> None:
    turned = {name: values[:, ::-1] for name, values in outputs().items()}
    with pytest.raises(ExportError, match="answers differently"):
        check(turned)
    boxes = np.array([[1, 1, 9, 9], [12, 2, 20, 12], [3, 20, 14, 30], [20, 20, 31, 31]], np.float32)
    wanted = outputs() | {"box_offsets": np.zeros((3, 4, 4), np.float32), "proposals": np.stack([boxes] * 3)}
    two_stage = manifest(wanted, boxes={"kind": "deltas"}, max_results=20)
    comparison = EXPORT.comparison(two_stage, TOLERANCE)
    same = comparison.compare({name: values[:, ::-1] for name, values in wanted.items()}, wanted)
    assert same.agreeing.all()
    assert same.differences.max() == 0
    moved = comparison.compare(wanted | {"proposals": wanted["proposals"] + 1}, wanted)
    assert not moved.agreeing.any()
    assert comparison.figures([moved])["unmatched"] == 1.0


def test_outputs_of_another_shape_or_no_numbers() -> None:
    short = {name: values[:, :2] for name, values in outputs().items()}
    with pytest.raises(ArtifactError, match=r"the box_offsets are \[3, 2, 4\], not \[3, 4, 4\]"):
        EXPORT.comparison(manifest(), TOLERANCE).compare(short, outputs())
    broken = outputs()
    broken["class_logits"][1, 1, 1] = np.nan
    with pytest.raises(ExportError, match="not numbers"):
        check(broken)
