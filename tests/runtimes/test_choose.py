"""`auto` measures once, remembers the choice, and does not fail if its cache is damaged."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_graph import expected, photos

from cvserve.artifact import Artifact, ClassificationParity, Graph
from cvserve.errors import ArtifactError, FailedPrecondition, InvalidInput, NotFound
from cvserve.runtimes import choose, open_runtime, opening, usable_runtimes
from cvserve.runtimes.litert import LiteRtRuntime


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "cache"
    monkeypatch.setenv("CVSERVE_CACHE_DIR", str(directory))
    monkeypatch.setattr(choose, "BUDGET_SECONDS", 0.05)
    return directory


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns the runtimes that were measured, in order."""
    calls: list[str] = []
    real = choose.time_in_turns

    def spy(runtimes, manifest):
        calls.extend(runtime.name for runtime in runtimes.values())
        return real(runtimes, manifest)

    monkeypatch.setattr(choose, "time_in_turns", spy)
    return calls


def _with(artifact: Artifact, *graphs: Graph) -> Artifact:
    return Artifact(artifact.directory, artifact.manifest.model_copy(update={"graphs": graphs}))


def test_measures_every_graph_once_and_remembers(artifact: Artifact, measured: list[str], cache: Path) -> None:
    first = open_runtime(artifact)
    assert sorted(measured) == ["litert", "onnx"]
    images = photos(3)
    np.testing.assert_allclose(first.run({"images": images})["sums"], expected(images)["sums"], atol=1e-3)
    second = open_runtime(artifact)
    assert len(measured) == 2, "the second load measures nothing"
    assert second.name == first.name
    (memory,) = cache.rglob("*.json")
    content = json.loads(memory.read_text())
    assert set(content["milliseconds"]) == {"model.onnx", "model.tflite"}
    assert set(content["milliseconds"]["model.onnx"]) == {"1", "8"}


def test_a_remembered_choice_is_used(artifact: Artifact, measured: list[str], cache: Path) -> None:
    fastest = open_runtime(artifact).name
    (memory,) = cache.rglob("*.json")
    other = {"onnx": ("model.tflite", "litert"), "litert": ("model.onnx", "onnx")}[fastest]
    memory.write_text(json.dumps({"graph": other[0]}))
    assert open_runtime(artifact).name == other[1]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"graph": 3}', '{"graph": "gone.onnx"}', "\udcff"])
def test_a_damaged_cache_file_is_measured_again(
    artifact: Artifact, measured: list[str], cache: Path, content: str
) -> None:
    open_runtime(artifact)
    (memory,) = cache.rglob("*.json")
    memory.write_bytes(content.encode("utf-8", "surrogateescape"))
    open_runtime(artifact)
    assert len(measured) == 4
    assert json.loads(memory.read_text())["graph"] in ("model.onnx", "model.tflite")


def test_a_cache_that_cannot_be_written_is_not_an_error(artifact: Artifact, measured: list[str], cache: Path) -> None:
    cache.write_text("a file where the directory should be")
    open_runtime(artifact)
    open_runtime(artifact)
    assert len(measured) == 4


def test_another_number_of_threads_is_measured_again(artifact: Artifact, measured: list[str]) -> None:
    open_runtime(artifact, threads=1)
    open_runtime(artifact, threads=2)
    assert len(measured) == 4


def test_auto_takes_the_fastest(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"model.onnx": {1: 2.0, 8: 16.0}, "model.tflite": {1: 1.0, 8: 40.0}}  # an image: 2 and 2; 1 and 5
    monkeypatch.setattr(choose, "time_in_turns", lambda runtimes, manifest: times)
    assert open_runtime(artifact).name == "onnx"


def test_a_graph_that_cannot_be_run_is_skipped(
    artifact: Artifact, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (artifact.directory / "model.tflite").write_bytes(b"damaged")
    assert open_runtime(artifact).name == "onnx"
    assert "skips model.tflite" in caplog.text
    assert not list(cache.rglob("*.json")), "next time it may be whole again"


def test_a_remembered_graph_that_is_damaged_is_skipped(artifact: Artifact, cache: Path) -> None:
    open_runtime(artifact)
    (memory,) = cache.rglob("*.json")
    memory.write_text(json.dumps({"graph": "model.tflite"}))
    (artifact.directory / "model.tflite").write_bytes(b"damaged")
    assert open_runtime(artifact).name == "onnx"


def test_a_graph_that_fails_with_eight_images_is_skipped(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = LiteRtRuntime.run

    def run(self, feed, *arguments, **options):
        if len(feed["images"]) > 1:
            raise ArtifactError("too many photos")
        return real(self, feed, *arguments, **options)

    monkeypatch.setattr(LiteRtRuntime, "run", run)
    assert open_runtime(artifact).name == "onnx"
    assert "skips model.tflite: too many photos" in caplog.text


def test_a_graph_whose_parity_does_not_hold_is_not_chosen(artifact: Artifact, measured: list[str]) -> None:
    onnx, tflite = artifact.manifest.graphs
    bad = ClassificationParity(images=3, max_abs_difference=0.5, agreement=0.2, limit=1e-4)
    artifact = _with(artifact, onnx.model_copy(update={"parity": bad}), tflite)
    assert usable_runtimes(artifact.manifest) == ["litert"]
    assert open_runtime(artifact).name == "litert"
    assert not measured, "one candidate needs no measuring"
    assert open_runtime(artifact, "onnx").name == "onnx", "asked for by name it is opened"
    with pytest.raises(FailedPrecondition, match="agrees with its network"):
        open_runtime(_with(artifact, onnx.model_copy(update={"parity": bad})))


def test_a_precision_that_the_artifact_does_not_have(artifact: Artifact) -> None:
    with pytest.raises(NotFound, match="no graph of precision int8; it has onnx float32, tflite float32"):
        open_runtime(artifact, precision="int8")
    with pytest.raises(NotFound, match="for the runtime tensorflow; it has"):
        open_runtime(artifact, "tensorflow")
    with pytest.raises(InvalidInput, match="'openvino' is not a runtime"):
        open_runtime(artifact, "openvino")


def test_only_what_is_installed(artifact: Artifact, monkeypatch: pytest.MonkeyPatch, measured: list[str]) -> None:
    monkeypatch.setattr(opening, "is_installed", lambda runtime: runtime == "litert")
    assert usable_runtimes(artifact.manifest) == ["litert"]
    assert open_runtime(artifact).name == "litert"
    monkeypatch.setattr(opening, "is_installed", lambda runtime: False)
    with pytest.raises(FailedPrecondition, match=r"pip install 'cvserve\[litert\]'"):
        open_runtime(artifact)


def test_listing_candidates_imports_no_library() -> None:
    import subprocess

    code = (
        "import sys; import cvserve.runtimes as r; r.opening.is_installed('onnx'); "
        "print([m for m in ('tensorflow', 'onnxruntime', 'ai_edge_litert') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
