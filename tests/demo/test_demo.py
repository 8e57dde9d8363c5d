"""The demo at a small size: every step runs, and all results agree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from cvserve.demo import DemoTask
from cvserve.errors import CvserveError
from cvserve.postproc import Result

ANSWERED_BY = {"server (gRPC)", "cvserve predict", "pipeline, tensorflow", "pipeline, onnx", "pipeline, litert"}


def small(task: DemoTask) -> DemoTask:
    return replace(
        task,
        images={"train": 60, "val": 24, "test": 30},
        training={**task.training, "epochs": 1, "batch_size": 12},
        starts_from="classification",
    )


def test_every_task_has_settings_that_can_be_trained_and_starts_from_an_earlier_one() -> None:
    from cvserve.demo import demo_tasks
    from cvserve.models import create_model
    from cvserve.training import TrainConfig

    seen: list[str] = []
    for task in demo_tasks():
        config = TrainConfig.load(None, {"task": task.task, "data": f"scenes:{task.task}", **task.training})
        assert create_model(
            task.task, config.model, num_classes=9, image_size=64, **config.model_options
        ).count_params()
        assert task.starts_from in (None, *seen)
        seen.append(task.task)


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        ("classification", "captioning"),
        pytest.param(("classification", "segmentation"), marks=pytest.mark.thorough),
        pytest.param(("classification", "detection"), marks=pytest.mark.thorough),
    ],
    ids="-".join,
)
def test_every_step_runs_and_all_answers_agree(names: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_serving")
    from cvserve import demo
    from cvserve.runs import CONFIG_FILE, MODEL_FILE
    from cvserve.training import TrainConfig

    tasks = [task for task in demo.demo_tasks() if task.task in names]
    out = tmp_path / "demo"
    summary = demo.run_demo(out, tasks=[small(task) for task in tasks])
    assert json.loads((out / "summary.json").read_text()) == summary
    assert list(summary["tasks"]) == list(names)
    started = [TrainConfig.load(out / name / "run" / CONFIG_FILE).weights for name in names]
    assert started == [None, str(out / "classification" / "run" / MODEL_FILE)]
    for task in tasks:
        found = summary["tasks"][task.task]
        assert {graph["format"] for graph in found["graphs"]} == {"saved_model", "onnx", "tflite"}
        where = {row["where"] for row in found["answers"]}
        assert where == ANSWERED_BY
        for row in found["answers"]:
            assert row["images"] == 30
            assert row["same"]
            assert row["max_abs_difference"] < 1e-3
        assert len(list((out / task.task / "annotated").rglob("*.jpg"))) == 30
        for image in task.look_at:
            assert (out / task.task / "evaluation" / image).is_file()
    assert cv2.imread(str(out / "overview.png")).std() > 10


def test_results_that_differ_are_reported() -> None:
    """The comparison can fail: results that differ end the demo with an error."""
    from cvserve.demo import DEMO_TASKS

    classification, detection, captioning = (DEMO_TASKS[name] for name in ("classification", "detection", "captioning"))

    labels = ("circle", "square")

    def classes(circle: float) -> Result:
        scores = [("circle", 0, circle), ("square", 1, 1 - circle)]
        rows = [{"label": label, "index": index, "score": score} for label, index, score in scores]
        return classification.from_row({"classes": rows}, labels)

    one, other = classes(0.6), classes(0.7)
    assert classification.compare([one], [one]).same
    difference = classification.compare([one], [other])
    assert (round(difference.largest, 6), difference.same) == (0.1, False)

    def found(*boxes: list[float]) -> Result:
        objects = [{"label": "square", "index": 1, "score": 0.9, "box": box} for box in boxes]
        return detection.from_row({"width": 128, "height": 128, "detections": objects}, labels)

    two = found([10, 10, 60, 60], [70, 70, 100, 100])
    assert detection.compare([two], [two]).same
    assert not detection.compare([two], [found([10, 10, 60, 60])]).same
    assert not detection.compare([two], [found([10, 10, 60, 60], [74, 70, 104, 100])]).same

    def caption(text: str, score: float) -> Result:
        return captioning.from_row({"captions": [{"text": text, "log_probability": score}]}, ())

    assert captioning.compare([caption("a red circle", -1.0)], [caption("a red circle", -1.0001)]).same
    assert not captioning.compare([caption("a red circle", -1.0)], [caption("a blue circle", -1.0)]).same
    assert not captioning.compare([caption("a red circle", -1.0)], [caption("a red circle", -1.1)]).same


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    from cvserve.demo import run_demo

    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(CvserveError, match="something else"):
        run_demo(tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "mine"
