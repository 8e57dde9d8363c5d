"""Opens what can be scored, with one interface: a run directory's Keras network, or an artifact in any runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from cvserve.artifact import PostprocSpec, default_postproc
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.evaluation.metrics import METRICS
from cvserve.evaluation.task_metric import Predict
from cvserve.pipeline import Pipeline
from cvserve.postproc import Contract, NetworkContract
from cvserve.runs import RUN_FILE, Run, is_run, load_run


@dataclass(frozen=True)
class Predictor:
    """Runs a model that is scored.

    contract: what the outputs mean, and how images are prepared. data: what it was trained on; None if not known.
    predict: takes images as `preproc` prepares them, uint8 RGB [B, height, width, 3], and returns the outputs by name.
    close: releases the graph's memory.
    """

    description: str
    contract: Contract
    data: str | None
    predict: Predict
    close: Callable[[], None] = lambda: None


def open_predictor(
    target: str | Path,
    *,
    runtime: str = "auto",
    threads: int | None = None,
    precision: str | None = None,
    average: str | None = None,
    device: str = "cpu",
) -> Predictor:
    """Opens a run directory (`runtime` must be "auto" or "keras") or an artifact.

    Args:
        average: only for run directories of segmentation: the views of an image whose probabilities are averaged, such
            as "flip,0.75,1.25"; see `cvserve.evaluation.averaging`.
        device: where an artifact runs, "cpu" or "gpu:N"; a run directory uses the devices that TensorFlow finds.

    Raises:
        NotFound, ArtifactError, InvalidInput, MissingExtra, FailedPrecondition
    """
    if is_run(target):
        if runtime not in ("auto", "keras"):
            raise InvalidInput(f"{target} is a run directory, which runs in keras; export it to score it in {runtime}")
        if device != "cpu":
            raise InvalidInput(
                f"{target} is a run directory, which runs where TensorFlow does; export it to choose a device"
            )
        return _of_run(Path(target), average)
    if average is not None:
        raise InvalidInput(f"{target} is an artifact; only run directories of segmentation are averaged")
    return _of_artifact(Pipeline.load(target, runtime=runtime, threads=threads, precision=precision, device=device))


def _of_run(directory: Path, average: str | None) -> Predictor:
    run = load_run(directory)
    averaged = METRICS[run.task].averaged
    if average is not None and averaged is None:
        raise InvalidInput(f"{directory} is a {run.task} run; only those of segmentation are averaged")
    model = run.load_model()

    import tensorflow as tf

    contract = NetworkContract.of(str(directory), run.task, run.labels, run.preproc, _postproc_of(run), model.output)
    if average is not None and averaged is not None:
        views, predict_averaged = averaged(run, model, average)
        return Predictor(f"{directory} (keras, averaged over {views})", contract, run.data_path, predict_averaged)

    graph = tf.function(lambda images: model(images, training=False), reduce_retracing=True)

    def predict(pixels: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values.numpy() for name, values in graph(tf.constant(pixels)).items()}

    return Predictor(f"{directory} (keras)", contract, run.data_path, predict)


def _postproc_of(run: Run) -> PostprocSpec:
    if run.postproc is not None:
        return run.postproc
    try:
        return default_postproc(run.task)
    except ValidationError as error:
        missing = ", ".join(str(fault["loc"][0]) for fault in error.errors())
        raise ArtifactError(
            f"{run.directory}: its {RUN_FILE} has no postproc, but a {run.task} run needs one, for its {missing}"
        ) from error


def _of_artifact(pipeline: Pipeline) -> Predictor:
    manifest = pipeline.manifest

    def predict(pixels: np.ndarray) -> dict[str, np.ndarray]:
        return pipeline.runtime.run(pipeline.encode(pixels))

    name = f"{manifest.name} version {manifest.version} ({pipeline.runtime.name})"
    return Predictor(name, manifest, None, predict, pipeline.close)
