"""What can be scored, behind one face: a run directory's Keras network, or an artifact through any runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvserve.artifact import default_postproc
from cvserve.errors import InvalidInput
from cvserve.pipeline import Pipeline
from cvserve.postproc import Contract, NetworkContract
from cvserve.runs import is_run, load_run


@dataclass(frozen=True)
class Predictor:
    """contract: what the outputs mean, and how images are prepared. data: what it was trained on, if that is known.

    predict: uint8 RGB [B, height, width, 3], as `preproc` makes them, to the outputs by name. close: gives the graph's
    memory back.
    """

    description: str
    contract: Contract
    data: str | None
    predict: Callable[[np.ndarray], dict[str, np.ndarray]]
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
        average: of a run directory of segmentation, the views of an image that are averaged, such as
            "flip,0.75,1.25"; see `cvserve.evaluation.averaging`.
        device: on which an artifact runs, "cpu" or "gpu:N"; a run directory has those that TensorFlow finds.

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
    model = run.load_model()

    import tensorflow as tf

    contract = NetworkContract.of(
        str(directory), run.task, run.labels, run.preproc, run.postproc or default_postproc(run.task), model.output
    )
    if average is not None:
        from cvserve.evaluation.averaging import Views, averaged

        views = Views.parse(average)
        name = f"{directory} (keras, averaged over {views})"
        return Predictor(name, contract, run.data_path, averaged(run, model, views))

    graph = tf.function(lambda images: model(images, training=False), reduce_retracing=True)

    def predict(pixels: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values.numpy() for name, values in graph(tf.constant(pixels)).items()}

    return Predictor(f"{directory} (keras)", contract, run.data_path, predict)


def _of_artifact(pipeline: Pipeline) -> Predictor:
    manifest = pipeline.manifest

    def predict(pixels: np.ndarray) -> dict[str, np.ndarray]:
        return pipeline.runtime.run(pipeline.encode(pixels))

    name = f"{manifest.name} version {manifest.version} ({pipeline.runtime.name})"
    return Predictor(name, manifest, None, predict, pipeline.close)
