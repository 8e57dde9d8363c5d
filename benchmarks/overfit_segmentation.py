"""Checks that every segmentation network can overfit eight photos, and that its formats give the same class maps.

It asks for an mIoU of at least 0.9 on the training images, and for parity of SavedModel, ONNX and TFLite on them.

python benchmarks/overfit_segmentation.py --data ../shared/data/camvid --out runs/overfit_masks [--models unet segnet]

A network that fails has a fault in labels, loss or layers; or its stride is too coarse. Beside each score stands the
score of a perfect network of that stride: one that knows the fraction of each class in each of its cells, and
interpolates as the network does. Thin objects limit even that. All networks get the same images: eight of the training
split, evenly spread, since neighbours in a video look alike. Each step has all eight, without augmentation, until the
score is reached or the time (of the processor, which does not depend on other work of the machine) is over. Then each
format is written and compared with the network. Results are written to OUT/overfit_segmentation.json, model by model; a
model that is there already is trained again only with --again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cvserve.console import say, table
from cvserve.data import open_dataset
from cvserve.data.pipelines.segmentation import SegmentationPipeline
from cvserve.data.source import SegmentationSource
from cvserve.evaluation.segmentation import SegmentationReport, confusion_matrix, segmentation_report
from cvserve.preproc import ImageSource
from cvserve.runs import write_json

IMAGES = 8
WANTED = 0.9
SCORED_EVERY = 25
SEED = 0
_POLICY = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
FINE, COARSE = (192, 256), (384, 512)


@dataclass(frozen=True)
class Settings:
    """Says how a model is trained here. stride: of its class scores. seconds: of the processor, at which it ends."""

    stride: int
    image_size: tuple[int, int] = FINE
    learning_rate: float = 0.002
    steps: int = 1500
    seconds: float = 1200.0
    options: dict[str, Any] = field(default_factory=dict)


# No dropout, which is there to keep networks from this. Networks of coarse scores get larger images.
NO_DROPOUT = {"dropout": 0.0}
SETTINGS: dict[str, Settings] = {
    "unet": Settings(2, options=NO_DROPOUT),
    "segnet": Settings(1),
    "deconvnet": Settings(1),
    "deeplabv3plus": Settings(4, options=NO_DROPOUT),
    "deeplabv3": Settings(8, image_size=COARSE, options={**NO_DROPOUT, "output_stride": 8}),
    # Its context module has no normalisation: at 0.002 the loss jumped.
    "dilated": Settings(8, image_size=COARSE, learning_rate=0.001, options=NO_DROPOUT),
    "fcn8s": Settings(8, image_size=COARSE, options=NO_DROPOUT),
    "fcn16s": Settings(16, image_size=COARSE, options=NO_DROPOUT),
    "fcn32s": Settings(32, image_size=COARSE, options=NO_DROPOUT),
}


class Chosen:
    """Holds some images of a split."""

    def __init__(self, source: SegmentationSource, indices: Sequence[int]) -> None:
        self._source, self._indices = source, list(indices)
        self.split = source.split
        self.classes = source.classes
        self.colors = source.colors

    def __len__(self) -> int:
        return len(self._indices)

    def image(self, index: int) -> ImageSource:
        return self._source.image(self._indices[index])

    def name(self, index: int) -> str:
        return self._source.name(self._indices[index])

    def mask(self, index: int) -> np.ndarray:
        return self._source.mask(self._indices[index])

    def describe(self) -> str:
        return f"{len(self)} images of {self._source.describe()}"


def choose(count: int, wanted: int = IMAGES) -> list[int]:
    """Chooses images in equal steps, beginning with the first."""
    return [index * count // wanted for index in range(wanted)]


def overfit(name: str, source: Chosen, settings: Settings, precision: str) -> dict[str, Any]:
    """Trains one model and returns its scores, times and parity."""
    import keras
    import tensorflow as tf

    from cvserve.models import default_preproc
    from cvserve.models.segmentation.losses import pixel_cross_entropy
    from cvserve.training.optimizer_config import OptimizerConfig
    from cvserve.training.step import Trainable, TrainStep, make_optimizer, specs_of

    keras.backend.clear_session()
    keras.utils.set_random_seed(SEED)
    begun, processor = time.perf_counter(), time.process_time()
    built = _created(name, source, settings, _POLICY[precision])
    kept = _created(name, source, settings, "float32").network
    preproc = default_preproc("segmentation", name, settings.image_size)
    pipeline = SegmentationPipeline(source, preproc, batch_size=len(source))

    def loss(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return pixel_cross_entropy(built.logits(images, training=True), labels)

    rate = settings.learning_rate
    config = OptimizerConfig(name="adamw", learning_rate=rate, weight_decay=0.0, clip_norm=10.0)
    specs = specs_of(pipeline.epoch(0))
    step = TrainStep(
        Trainable(built.network, loss), make_optimizer(config, built.network), average_decay=0.0, specs=specs
    )
    predict = tf.function(lambda images: kept(images, training=False)["class_map"])
    images, labels = next(iter(pipeline.batches(0)))
    ground_truth = np.asarray(labels)

    report = None
    for number in range(1, settings.steps + 1):
        # A start without running means wants small steps.
        value = float(step.run(images, labels, tf.constant(rate * min(1.0, number / SCORED_EVERY), tf.float32)))
        seconds = time.process_time() - processor
        over = number == settings.steps or seconds > settings.seconds
        if number % SCORED_EVERY and not over:
            continue
        for variable, trained in zip(kept.variables, built.network.variables, strict=True):
            variable.assign(trained)
        report = _score(ground_truth, np.asarray(predict(images)), source.classes)
        say(f"{name}: step {number}, {seconds:.0f} s of the processor, loss {value:.3f}, mIoU {report.miou:.3f}")
        if over or report.miou >= WANTED:
            break
    assert report is not None
    seconds, processor_seconds = time.perf_counter() - begun, time.process_time() - processor
    exported = _export(kept, preproc, source.classes, np.asarray(images), ground_truth)
    shares = of_fractions(ground_truth, settings.stride, len(source.classes))
    worst = sorted((row.iou, row.label) for row in report.classes if row.iou is not None)[:3]
    return {
        "miou": round(report.miou, 4),
        "pixel_accuracy": round(report.pixel_accuracy, 4),
        "worst": ", ".join(f"{label} {iou:.2f}" for iou, label in worst),
        "stride": settings.stride,
        "of_fractions": round(_score(ground_truth, shares, source.classes).miou, 4),
        "steps": number,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor_seconds, 1),
        "parameters": built.network.count_params(),
        "image_size": "x".join(map(str, settings.image_size)),
        "learning_rate": rate,
        "precision": precision,
        "options": settings.options,
        "formats": exported,
    }


def _created(name: str, source: Chosen, settings: Settings, policy: str) -> Any:
    import keras

    from cvserve.models import build_model

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return build_model(
            "segmentation", name, num_classes=len(source.classes), image_size=settings.image_size, **settings.options
        )
    finally:
        keras.config.set_dtype_policy(before)


def _export(network: Any, preproc: Any, classes: Sequence[str], images: np.ndarray, ground_truth: np.ndarray) -> Any:
    """Returns each format's parity over the images, or the reason why it cannot hold the network."""
    from cvserve.errors import CvserveError
    from cvserve.export import export_model

    try:
        with tempfile.TemporaryDirectory() as folder:
            made = export_model(
                network,
                Path(folder) / "model",
                task="segmentation",
                labels=classes,
                preproc=preproc,
                parity_images=images,
                ground_truth=list(ground_truth),
            )
    except CvserveError as error:
        say(f"  not exported: {error}")
        return {"error": str(error)}
    found = {graph.format: graph.parity.model_dump(exclude_none=True) for graph in made.manifest.graphs if graph.parity}
    for kind, parity in found.items():
        say(
            f"  {kind}: {parity['pixel_agreement']:.5%} of the pixels the same, mIoU of both {parity['miou']:.5f}, "
            f"with the ground truth it differs by {parity['miou_difference']:.1e}"
        )
    return found


def of_fractions(labels: np.ndarray, stride: int, classes: int) -> np.ndarray:
    """Returns the class maps, uint8 [B, H, W], of a network that knows the fraction of each class in each cell."""
    height, width = labels.shape[1:]
    answers = np.empty_like(labels)
    for row, own in enumerate(labels):
        shares = (own[..., None] == np.arange(classes)).astype(np.float32)
        cells = shares.reshape(height // stride, stride, width // stride, stride, classes).mean(axis=(1, 3))
        planes = [cv2.resize(cells[..., c], (width, height), interpolation=cv2.INTER_LINEAR) for c in range(classes)]
        answers[row] = np.argmax(planes, axis=0)
    return answers


def _score(labels: np.ndarray, answers: np.ndarray, classes: Sequence[str]) -> SegmentationReport:
    return segmentation_report(confusion_matrix(labels, answers, classes), classes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of camvid, or another with masks")
    parser.add_argument("--out", type=Path, default=Path("runs/overfit_masks"), help="where results are kept")
    parser.add_argument("--models", nargs="+", help="names of networks; all that are registered if not said")
    parser.add_argument("--again", action="store_true", help="train what has a result already, too")
    parser.add_argument("--precision", default="float32", choices=_POLICY, help="of the training; not of the scores")
    parser.add_argument("--seconds", type=float, help="of the processor, after which each is given up")
    asked = parser.parse_args()

    from cvserve.models import list_models

    whole = open_dataset(asked.data, "train", task="segmentation")
    source = Chosen(whole, choose(len(whole)))
    say(f"{source.describe()}: {', '.join(source.name(index) for index in range(len(source)))}")
    file = asked.out / "overfit_segmentation.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    for name in asked.models or list_models("segmentation"):
        if results.get(name, {}).get("precision") == asked.precision and not asked.again:
            say(f"{name}: has a result already")
            continue
        settings = SETTINGS.get(name, Settings(1))
        if asked.seconds:
            settings = replace(settings, seconds=asked.seconds)
        results[name] = overfit(name, source, settings, asked.precision)
        asked.out.mkdir(parents=True, exist_ok=True)
        write_json(file, results)
    columns = (
        "miou",
        "pixel_accuracy",
        "worst",
        "of_fractions",
        "stride",
        "steps",
        "processor_seconds",
        "parameters",
        "image_size",
    )
    rows = [
        (name, *(row.get(key) for key in columns), _agreement(row.get("formats", {"error": ""})))
        for name, row in sorted(results.items())
    ]
    table(rows, ("model", *columns, "same pixels, least"))


def _agreement(formats: dict[str, Any]) -> str:
    """Returns the agreement of the format that has the fewest pixels in common with the network."""
    if "error" in formats:
        return "not exported"
    kind, parity = min(formats.items(), key=lambda item: float(item[1]["pixel_agreement"]))
    return f"{parity['pixel_agreement']:.4%} ({kind})"


if __name__ == "__main__":
    main()
