"""Instance plans, warm-up, and the models at a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from serving_kit import PuppetRuntime, repository
from tiny_artifact import publish_tiny, write_graph

from cvserve.artifact import Artifact, Graph, Manifest, file_entry, publish
from cvserve.errors import ArtifactError, NotFound, OutOfMemory
from cvserve.serving.core import loading, measuring, replicas
from cvserve.serving.core.batching.policy import BatchLimits
from cvserve.serving.core.replicas import Placement
from cvserve.serving.core.repository import find
from cvserve.serving.core.settings import ModelSettings


class Clock:
    """Stands in for `time`: only a Timed graph moves it, so a busy machine changes nothing."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts without the measurements of other tests."""
    monkeypatch.setenv("CVSERVE_CACHE_DIR", str(tmp_path / "measured"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measuring, "time", clock)
    return clock


class Timed:
    """A graph that takes `fixed` + `per_row` milliseconds a call, of `clock`."""

    def __init__(self, fixed: float, per_row: float, clock: Clock | None = None) -> None:
        self.fixed, self.per_row = fixed, per_row
        self.sizes: list[int] = []
        self._clock = clock or Clock()

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        rows = len(inputs["x"])
        self.sizes.append(rows)
        self._clock.now += (self.fixed + self.per_row * rows) / 1000
        return {}


def make(rows: int) -> dict[str, np.ndarray]:
    return {"x": np.zeros((rows, 1))}


@pytest.mark.parametrize(
    ("fixed", "per_row", "expected"),
    [
        # 40 ms of fixed cost in each call: larger batches are better up to the limit.
        (40, 0.5, (measuring.MAX_ROWS,)),
        # Fast rows without a gain from batching: only the hand-over is saved, which makes small batches worthwhile; the
        # comparison with decoding decides.
        (0, 1, (4, 1)),
        # Slower rows: it is not worth a larger batch.
        (0, 10, (1,)),
        # Rows that take far longer than the hand-over: a larger batch only makes requests wait.
        (0, 60, (1,)),
    ],
)
def test_the_largest_batch_is_measured_when_it_is_not_set(
    clock: Clock, fixed: float, per_row: float, expected: tuple[int, ...]
) -> None:
    assert measuring.good_batches([Timed(fixed, per_row, clock).run], make) == expected


def test_a_batch_that_has_no_room_ends_the_search(clock: Clock) -> None:
    timed = Timed(40, 0.5, clock)

    def small(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        if len(inputs["x"]) > 4:
            raise OutOfMemory("gpu:0 has no memory left")
        return timed.run(inputs, outputs)

    assert measuring.good_batches([small], make) == (4,)
    assert max(timed.sizes) == 4

    def full(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        raise OutOfMemory("gpu:0 has no memory left")

    with pytest.raises(OutOfMemory):
        measuring.good_batches([full], make)


def test_every_size_is_run_on_every_worker_before_the_model_is_available() -> None:
    graphs = [Timed(0, 0), Timed(0, 0)]
    runs = [graph.run for graph in graphs]
    loading.warm(runs, make, BatchLimits(6))
    assert [graph.sizes for graph in graphs] == [[1, 2, 4, 6]] * 2
    graphs[0].sizes.clear()
    loading.warm(runs[:1], make, BatchLimits(8, allowed_rows=(2, 8)))
    assert graphs[0].sizes == [2, 8]
    graphs[0].sizes.clear()
    loading.warm(runs[:1], make, BatchLimits(8, batching=False))
    assert graphs[0].sizes == [1]


def test_a_runtime_that_serialises_its_calls_is_opened_once_a_worker(tmp_path: Path) -> None:
    directory = publish_tiny(tmp_path / "m").directory
    opened: list[PuppetRuntime] = []

    def open_one(artifact: Artifact, settings: ModelSettings, placement: Placement) -> PuppetRuntime:
        opened.append(PuppetRuntime())
        return opened[-1]

    settings = ModelSettings(instances=3, max_batch_size=4)
    model = loading.load(directory, settings, open_one)
    assert len(opened) == model.workers == 3
    assert [runtime.batch_sizes for runtime in opened] == [[1, 2, 4]] * 3
    model.close()
    assert all(runtime.closed for runtime in opened)


def test_litert_keeps_to_few_batch_sizes(tmp_path: Path) -> None:
    assert [loading._few(largest) for largest in (1, 2, 3, 4, 8, 12, 32)] == [
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 4),
        (1, 2, 4, 8),
        (1, 4, 8, 12),
        (1, 8, 16, 32),
    ]


def test_on_a_gpu_batches_have_sizes_that_were_run_before(tmp_path: Path) -> None:
    opened = PuppetRuntime()
    settings = ModelSettings(devices=("gpu:0",), instances=1, max_batch_size=12)
    model = loading.load(publish_tiny(tmp_path / "m").directory, settings, lambda *_: opened)
    assert model.limits.allowed_rows == (1, 4, 8, 12)
    assert opened.batch_sizes == [1, 4, 8, 12]
    assert model.limits.padded(5) == 8
    model.close()


def test_on_a_gpu_with_limited_memory_there_is_one_size(tmp_path: Path) -> None:
    opened = PuppetRuntime()
    opened.name = "onnx"
    settings = ModelSettings(devices=("gpu:0",), instances=1, max_batch_size=12, gpu_memory_mib=512)
    model = loading.load(publish_tiny(tmp_path / "m").directory, settings, lambda *_: opened)
    assert model.limits.allowed_rows == (12,)
    assert opened.batch_sizes == [12]
    model.close()


def test_without_batching_a_request_of_several_rows_stays_whole(tmp_path: Path) -> None:
    directory = publish_tiny(tmp_path / "m").directory
    model = loading.load(directory, ModelSettings(batching=False, instances=1, max_request_rows=77))
    assert model.limits.max_rows == 77
    assert model.describe() == "onnx, 1 instance x 2 threads, no batching, delay 0 ms".replace(
        "2 threads", f"{model.threads} thread" + "s" * (model.threads > 1)
    )
    model.close()


def test_the_replicas_of_a_model_have_one_precision(tmp_path: Path) -> None:
    """A format is there in several precisions."""

    directory = several_graphs(tmp_path / "m", [("onnx", "float32"), ("onnx", "float16"), ("onnx", "int8")])
    seen: list[tuple[str, str | None]] = []

    def open_one(artifact: Artifact, settings: ModelSettings, placement: Placement) -> PuppetRuntime:
        seen.append((settings.runtime, settings.precision))
        return PuppetRuntime()

    for runtime in ("auto", "onnx"):
        seen.clear()
        loading.load(directory, ModelSettings(runtime=runtime, instances=3, max_batch_size=1), open_one).close()
        assert len(seen) == 3
        (taken,) = set(seen)
        assert taken in [("onnx", "float32"), ("onnx", "float16"), ("onnx", "int8")]
    seen.clear()
    loading.load(directory, ModelSettings(precision="int8", instances=2, max_batch_size=1), open_one).close()
    assert {precision for _, precision in seen} == {"int8"}, "what is asked for stays"


def test_formats_with_one_precision_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = several_graphs(tmp_path / "m", [("onnx", "float32"), ("tflite", "float32"), ("tflite", "int8")])
    monkeypatch.setattr(replicas, "choose", None)
    model = loading.load(directory, ModelSettings(runtime="onnx", instances=1, max_batch_size=1))
    assert model.runtime_name == "onnx"
    model.close()


def several_graphs(model_directory: Path, graphs: Sequence[tuple[str, str]]) -> Path:
    """A version with graphs of these formats and precisions; all files are the same ONNX graph."""

    def build(directory: Path, version: int) -> Manifest:
        tiny = publish_tiny(model_directory.parent / "tiny").manifest
        listed = []
        for number, (graph_format, precision) in enumerate(graphs):
            path = directory / f"{number}.{graph_format}"
            write_graph(path)
            listed.append(Graph(format=graph_format, precision=precision, files=(file_entry(directory, path),)))  # type: ignore[arg-type]
        return tiny.model_copy(update={"name": model_directory.name, "version": version, "graphs": tuple(listed)})

    return publish(model_directory, build).directory


def test_graphs_opened_to_measure_are_closed_again(tmp_path: Path) -> None:
    directory = publish_tiny(tmp_path / "m").directory
    opened: list[PuppetRuntime] = []

    def open_one(artifact: Artifact, settings: ModelSettings, placement: Placement) -> PuppetRuntime:
        opened.append(PuppetRuntime())
        return opened[-1]

    model = loading.load(directory, ModelSettings(instances=1), open_one)
    assert [runtime.closed for runtime in opened] == [True, False]
    assert max(opened[1].batch_sizes) == model.limits.max_rows
    model.close()


def test_onnx_is_opened_once_and_shared(tmp_path: Path) -> None:
    directory = publish_tiny(tmp_path / "m").directory
    model = loading.load(directory, ModelSettings(instances=3, threads=1, max_batch_size=2))
    assert len(model.pipelines) == 1
    assert len(model.graphs) == 3
    assert model.describe() == "onnx, 3 instances x 1 thread, batches up to 2, delay 0 ms"
    model.close()


def test_a_graph_that_fails_in_warming_is_not_served_and_is_closed(tmp_path: Path) -> None:
    directory = publish_tiny(tmp_path / "m").directory
    runtime = PuppetRuntime(size=8)

    def run(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        raise ArtifactError("the graph is broken")

    runtime.run = run  # type: ignore[method-assign]
    with pytest.raises(ArtifactError, match="the graph is broken"):
        loading.load(directory, ModelSettings(max_batch_size=1, instances=1), lambda *_: runtime)
    assert runtime.closed


def test_find_takes_a_repository_a_model_or_a_version(tmp_path: Path) -> None:
    root = repository(tmp_path, "flowers", "birds")
    publish_tiny(root / "flowers")
    (root / "notes").mkdir()
    (root / ".hidden" / "1").mkdir(parents=True)
    assert [(found.name, found.version) for found in find(root)] == [("birds", 1), ("flowers", 2)]
    assert [(found.name, found.version) for found in find(root / "flowers")] == [("flowers", 2)]
    assert [(found.name, found.version) for found in find(root / "flowers" / "1")] == [("flowers", 1)]


def test_find_reports_missing_models(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no model repository at .*nowhere"):
        find(tmp_path / "nowhere")
    with pytest.raises(NotFound, match="holds no model; a repository looks like"):
        find(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(NotFound, match="it is a file"):
        find(tmp_path / "file")
