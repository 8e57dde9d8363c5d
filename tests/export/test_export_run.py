"""A run directory to an artifact, with images of the run's own validation split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_network import PREPROC, make_model

from cvserve.data import open_dataset
from cvserve.errors import NotFound
from cvserve.export import export_run
from cvserve.preproc import preprocess
from cvserve.runs import METRICS_FILE, MODEL_FILE, RUN_FILE, RunDescription, write_json
from cvserve.runtimes import open_runtime

DATA = "scenes:classification?count=40&seed=1&image_size=48"


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("keras")
    directory = tmp_path_factory.mktemp("runs") / "scenes"
    directory.mkdir()
    classes = open_dataset(DATA, "val").classes
    description = RunDescription(
        task="classification",
        architecture="small",
        labels=classes,
        preproc=PREPROC,
        data=DATA,
        dataset="generated scenes",
    )
    write_json(directory / RUN_FILE, description.model_dump())
    write_json(directory / METRICS_FILE, {"top_1": 0.75})
    make_model(len(classes)).save(directory / MODEL_FILE)
    return directory


def test_parity_is_measured_on_the_runs_own_validation_images(run_directory: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    published = export_run(run_directory, tmp_path / "scenes", formats=("onnx",), on_step=steps.append)
    validation = open_dataset(DATA, "val")
    manifest = published.manifest
    assert manifest.labels == validation.classes
    assert manifest.graphs[0].parity is not None
    assert manifest.graphs[0].parity.images == len(validation)
    assert manifest.provenance.metrics == {"top_1": 0.75}
    assert (manifest.provenance.architecture, manifest.provenance.dataset) == ("small", "generated scenes")
    assert "writing onnx" in steps
    pixels = preprocess(validation.image(0), PREPROC)[0][None]
    wanted = np.asarray(make_model(len(validation.classes))(pixels, training=False)["probabilities"])
    np.testing.assert_allclose(open_runtime(published).run({"images": pixels})["probabilities"], wanted, atol=1e-5)


def test_missing_folders_are_an_error(run_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="gone"):
        export_run(run_directory, tmp_path / "scenes", data=tmp_path / "gone")
    with pytest.raises(NotFound, match="no run directory"):
        export_run(tmp_path / "nothing", tmp_path / "scenes")
