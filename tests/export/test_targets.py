"""A further target is a further row: everything that depends on format and precision follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_network import LABELS, PREPROC, make_images, make_model

import cvserve
from cvserve import artifact as artifacts
from cvserve.artifact import Artifact
from cvserve.cli.main import main
from cvserve.errors import ExportError, InvalidInput
from cvserve.export import TARGETS, ExportTarget, export_model, report_rows
from cvserve.export.network import Network
from cvserve.export.targets import WrittenFiles, select_targets
from cvserve.runtimes import open_runtime

NAME = "onnx-float16"


def write_half(network: Network, path: Path, signatures: Mapping[str, Any]) -> WrittenFiles:
    """Writes ONNX whose weights are stored as float16 and cast to float32 when the graph is loaded."""
    onnx = pytest.importorskip("onnx")
    from cvserve.export.onnx import write_onnx

    model = onnx.load(write_onnx(network, path))
    weights = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    casts = []
    for tensor in weights:
        half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        casts.append(onnx.helper.make_node("Cast", [f"{tensor.name}/half"], [tensor.name], to=onnx.TensorProto.FLOAT))
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{tensor.name}/half"))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    return WrittenFiles((path,))


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> ExportTarget:
    """A target from outside, registered for the length of a test."""
    target = ExportTarget("onnx", "float16", "model.fp16.onnx", write_half, tolerance=1e-2)
    monkeypatch.setitem(TARGETS, target.name, target)
    return target


def export(to: Path, formats: tuple[str, ...]) -> Artifact:
    return export_model(
        make_model(),
        to,
        task="classification",
        labels=LABELS,
        preproc=PREPROC,
        parity_images=make_images(6),
        formats=formats,
    )


def test_a_target_from_outside(half: ExportTarget, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = export(tmp_path / "shapes", ("onnx", NAME)).directory
    artifact = artifacts.read(directory)  # checks the hashes of all files

    full, graph = artifact.manifest.graphs
    assert (full.precision, graph.format, graph.precision) == ("float32", "onnx", "float16")
    assert (graph.path, graph.batch) == ("model.fp16.onnx", None)
    assert graph.parity is not None
    assert full.parity is not None
    assert (graph.parity.limit, graph.parity.images) == (1e-2, 6)
    assert full.parity.max_abs_difference < graph.parity.max_abs_difference < 1e-2
    assert graph.bytes < full.bytes
    assert set(graph.latency_ms) == {"1", "8"}

    images = make_images(3, seed=5)
    answers = [
        open_runtime(artifact, precision=precision).run({"images": images})["probabilities"]
        for precision in ("float32", "float16")
    ]
    assert 0 < np.abs(answers[0] - answers[1]).max() < 1e-2
    with cvserve.load(directory, precision="float16") as pipeline:
        assert len(pipeline(list(images))) == 3

    assert [row[:2] for row in report_rows(artifact.manifest)] == [["onnx", "float32"], ["onnx", "float16"]]
    assert main(["inspect", str(directory)]) == 0
    shown = [line.split()[:3] for line in capsys.readouterr().out.splitlines() if line.startswith("onnx")]
    assert shown == [["onnx", "float32", "model.onnx"], ["onnx", "float16", "model.fp16.onnx"]]


def test_its_tolerance_decides(half: ExportTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, NAME, replace(half, tolerance=1e-7))
    with pytest.raises(ExportError, match=r"the exported onnx-float16 graph answers differently: .* limit 1e-07"):
        export(tmp_path / "shapes", (NAME,))
    assert not (tmp_path / "shapes").exists()


def test_the_command_line_offers_it(half: ExportTarget, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert "some of saved_model,onnx,tflite,onnx-float16" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        main(["export", "run", "--to", "model", "--formats", "onnx,onnx-int8"])
    assert "'onnx-int8' is not one of saved_model, onnx, tflite, onnx-float16" in capsys.readouterr().err


def test_which_targets_are_written(half: ExportTarget) -> None:
    assert [target.name for target in select_targets(None)] == ["saved_model", "onnx", "tflite", NAME]
    assert [target.name for target in select_targets([NAME, "saved_model"])] == ["saved_model", NAME]
    with pytest.raises(InvalidInput, match="'pb' is not a format; they are saved_model, onnx, tflite, onnx-float16"):
        select_targets(["pb"])
    with pytest.raises(InvalidInput, match="name at least one format"):
        select_targets([])
