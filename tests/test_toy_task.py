"""A task from outside: a network that answers one number an image, all the way from its artifact to rows and scores.

Nothing in cvserve is edited for it. Each layer's table gets one entry, as docs/extending.md says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from cvserve.artifact import (
    TASK_SPECS,
    Artifact,
    Graph,
    Manifest,
    OutputSpec,
    Parity,
    PostprocSpec,
    PreprocSpec,
    TaskSpec,
    file_entry,
    publish,
    read,
)
from cvserve.artifact.task_spec import need_outputs
from cvserve.batch import SINK_RULES, Sources, open_sink, predict
from cvserve.batch.sinks.rules import SinkRules
from cvserve.batch.sinks.tables import COMMON, Table, check_columns
from cvserve.data.readers import folder as readers
from cvserve.data.readers.base import Reader
from cvserve.errors import ExportError, FailedPrecondition, InvalidInput, Unimplemented
from cvserve.evaluation import evaluate
from cvserve.evaluation.metrics import METRICS
from cvserve.evaluation.task_metric import TaskMetric
from cvserve.export.comparison.base import Compared, Comparison, Outputs
from cvserve.export.parity import ParityImages, check_parity
from cvserve.export.report import columns, report_rows
from cvserve.export.task_export import TASK_EXPORTS, TaskExport
from cvserve.pipeline import Pipeline
from cvserve.postproc import DECODERS, Contract, Options, draw
from cvserve.preproc import Geometry

SIZE = 8
SPOTS = {"none.png": 0, "three.png": 3, "all.png": SIZE * SIZE}


class CountPostproc(PostprocSpec):
    """unit: what a count is called."""

    task: Literal["count"] = "count"
    unit: str = "spots"


class CountParity(Parity):
    """largest_count: of any image."""

    task: Literal["count"] = "count"
    largest_count: float | None = None


@dataclass(frozen=True)
class CountResult:
    """The count of an image."""

    count: int
    unit: str
    task: ClassVar[str] = "count"

    def to_dict(self) -> dict[str, Any]:
        return {"count": self.count, "unit": self.unit}


def decode(
    outputs: Mapping[str, np.ndarray], geometries: Sequence[Geometry], manifest: Contract, options: Options
) -> list[CountResult]:
    unit = CountPostproc.of(manifest).unit
    return [CountResult(round(float(value)), unit) for value in outputs["count"].reshape(-1)]


class CountTable(Table):
    columns = (*COMMON, "count")

    def lines(self, row: dict[str, Any]) -> list[list[Any]]:
        check_columns(row, "count", "unit")
        return [[row.get(name, "") for name in self.columns]]


@dataclass(frozen=True)
class CountComparison:
    manifest: Manifest
    limit: float
    what: str = "the count"

    def compare(self, got: Outputs, wanted: Outputs) -> Compared:
        mine, theirs = got["count"].reshape(-1), wanted["count"].reshape(-1)
        return Compared(np.abs(mine - theirs), np.round(mine) == np.round(theirs), float(mine.max()))

    def figures(self, parts: Sequence[Compared]) -> dict[str, Any]:
        return {"largest_count": max(part.detail for part in parts)}


class CountExport(TaskExport):
    task = "count"

    def comparison(self, manifest: Manifest, tolerance: float, **_: Any) -> Comparison:
        return CountComparison(manifest, tolerance)

    def report_columns(self, manifest: Manifest) -> tuple[str, ...]:
        return ("largest",)

    def report_figures(self, parity: Parity, manifest: Manifest) -> list[Any]:
        assert isinstance(parity, CountParity)
        return [parity.largest_count]


@dataclass(frozen=True)
class CountReport:
    images: int
    mean_error: float

    def to_dict(self) -> dict[str, Any]:
        return {"images": self.images, "mean_error": self.mean_error}

    def table(self) -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
        return [(self.images, self.mean_error)], ("images", "mean error")

    def headline(self) -> str:
        return f"mean error {self.mean_error:g}"

    def write(self, directory: Path, dataset: Any, contract: Contract) -> None:
        (directory / "errors.txt").write_text(self.headline())


class CountMetric:
    def __init__(self) -> None:
        self._errors: list[float] = []

    def update(self, predictions: Any, ground_truths: Any, indices: Any = None) -> None:
        self._errors += [abs(mine - true) for mine, true in zip(predictions, ground_truths, strict=True)]

    def compute(self) -> CountReport:
        return CountReport(len(self._errors), float(np.mean(self._errors)))


@dataclass(frozen=True)
class CountFolder:
    """A folder of images with counts.json."""

    root: Path

    def open(self, split: str, fractions: Any) -> CountFolder:
        return self

    @property
    def counts(self) -> list[tuple[str, int]]:
        return sorted(json.loads((self.root / "counts.json").read_text()).items())

    def __len__(self) -> int:
        return len(self.counts)

    def image(self, index: int) -> Path:
        return self.root / self.name(index)

    def name(self, index: int) -> str:
        return self.counts[index][0]


READER = Reader(
    "count", "counts.json", lambda folder, _: CountFolder(folder) if (folder / "counts.json").is_file() else None
)
METRIC = TaskMetric(
    create=lambda contract, dataset: CountMetric(),
    predictions=lambda outputs, geometries, contract: outputs["count"].reshape(-1),
    ground_truth=lambda dataset, index, contract: dataset.counts[index][1],
)


@pytest.fixture(autouse=True)
def _task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the task in every layer, for one test."""
    entries: dict[Any, Any] = {
        TASK_SPECS: TaskSpec(CountPostproc, CountParity, lambda manifest: need_outputs(manifest, "count")),
        DECODERS: decode,
        SINK_RULES: SinkRules(table=lambda _: CountTable()),
        METRICS: METRIC,
        TASK_EXPORTS: CountExport(),
    }
    for table, entry in entries.items():
        monkeypatch.setattr(table, "_registered", dict(table._registered))
        table.register("count", entry)
    monkeypatch.setattr(readers, "READERS", [*readers.READERS, READER])


def write_graph(path: Path) -> None:
    """uint8 `images` [batch, 8, 8, 3] -> `count` [batch, 1], the number of white pixels."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["pixels", "axes"], ["sum"], keepdims=0),
            helper.make_node("Div", ["sum", "white"], ["counts"]),
            helper.make_node("Reshape", ["counts", "shape"], ["count"]),
        ],
        "count",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("count", TensorProto.FLOAT, ["batch", 1])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
            helper.make_tensor("white", TensorProto.FLOAT, [], [3 * 255.0]),
            helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    def build(directory: Path, version: int) -> Manifest:
        write_graph(directory / "model.onnx")
        return Manifest(
            name="spots",
            version=version,
            task="count",
            preproc=PreprocSpec(height=SIZE, width=SIZE, resize="exact"),
            outputs=(OutputSpec(name="count", role="count", shape=(1,)),),
            postproc=CountPostproc(unit="white pixels"),
            graphs=(Graph(format="onnx", files=(file_entry(directory, directory / "model.onnx"),)),),
        )

    return publish(tmp_path / "models" / "spots", build)


def image(spots: int) -> np.ndarray:
    pixels = np.zeros((SIZE * SIZE, 3), np.uint8)
    pixels[:spots] = 255
    return pixels.reshape(SIZE, SIZE, 3)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, spots in SPOTS.items():
        cv2.imwrite(str(folder / name), image(spots))
    return folder


def test_the_manifest_has_the_classes_of_the_task(artifact: Artifact) -> None:
    written = json.loads((artifact.directory / "manifest.json").read_text())
    assert written["postproc"] == {"task": "count", "unit": "white pixels"}
    assert read(artifact.directory).manifest == artifact.manifest
    with pytest.raises(ValidationError, match="a count model needs an output of role count"):
        Manifest.model_validate(written | {"outputs": [{"name": "sum", "role": "sum"}]})
    with pytest.raises(ValidationError, match="postproc is of classification, but the model is of count"):
        Manifest.model_validate(written | {"postproc": {"task": "classification"}})


def test_the_pipeline_answers(artifact: Artifact) -> None:
    with Pipeline.load(artifact.directory) as pipeline:
        results = pipeline([image(spots) for spots in (0, 5, 64)])
    assert results == [CountResult(spots, "white pixels") for spots in (0, 5, 64)]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_predict_writes_rows(artifact: Artifact, photos: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    with Pipeline.load(artifact.directory) as pipeline, open_sink(out, task="count") as sink:
        summary = predict(pipeline, Sources([str(photos)]), sink)
    assert summary.done == len(SPOTS)
    text = out.read_text()
    if name == "rows.csv":
        assert text.splitlines()[0] == "image,task,model,version,error,count"
        assert [int(line.rpartition(",")[2]) for line in text.splitlines()[1:]] == [64, 0, 3]
    else:
        rows = [json.loads(line) for line in text.splitlines()]
        assert {Path(row["image"]).name: row["count"] for row in rows} == SPOTS
        assert {row["task"] for row in rows} == {"count"}


def test_what_the_task_does_not_have_is_named(artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="COCO results are of captioning and detection models, not of count"):
        open_sink(tmp_path / "rows.json", task="count", format="coco")
    with pytest.raises(Unimplemented, match="results of count cannot be drawn"):
        draw(np.zeros((9, 9, 3), np.uint8), CountResult(1, "spots"))
    from cvserve.serving.protocols.vision.answers import check_method

    with pytest.raises(FailedPrecondition, match="does count, which VisionService has no message for"):
        check_method(artifact.manifest, "Classify", "spots")


def test_an_exported_graph_is_compared_and_reported(artifact: Artifact) -> None:
    images = np.stack([image(spots) for spots in (0, 5, 64)])
    comparison = TASK_EXPORTS["count"].comparison(artifact.manifest, 1e-4)
    with Pipeline.load(artifact.directory) as pipeline:
        counts = np.array([[0], [5], [64]], np.float32)
        asked = ParityImages(images, ["0", "5", "64"], {"count": counts})
        parity = check_parity(pipeline.runtime, asked, comparison, what="the graph")
        other = replace(asked, expected={"count": counts + 1})
        with pytest.raises(ExportError, match="the count of 0 is 1 away from the network's"):
            check_parity(pipeline.runtime, other, comparison, what="the graph")
    assert isinstance(parity, CountParity)
    assert (parity.holds, parity.agreement, parity.largest_count) == (True, 1.0, 64)
    graph = artifact.manifest.graphs[0].model_copy(update={"parity": parity})
    manifest = artifact.manifest.model_copy(update={"graphs": (graph,)})
    [row] = report_rows(manifest)
    assert dict(zip(columns(manifest), row, strict=True))["largest"] == 64


def test_evaluate_scores_it(artifact: Artifact, photos: Path, tmp_path: Path) -> None:
    (photos / "counts.json").write_text(json.dumps(SPOTS | {"three.png": 6}))
    evaluation = evaluate(artifact.directory, str(photos), out=tmp_path / "scores")
    assert evaluation.report == CountReport(images=3, mean_error=1.0)
    assert (tmp_path / "scores" / "errors.txt").read_text() == "mean error 1"
