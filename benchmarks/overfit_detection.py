"""Checks that every detector can overfit eight photos, and that its exported formats find the same boxes.

It asks for an mAP at IoU 0.5 of at least 0.9 on the training images (of masks too where the network finds masks), and
for parity of SavedModel, ONNX and TFLite on them.

python benchmarks/overfit_detection.py --data ../shared/data/coco_mini --out runs/overfit [--models retinanet ssd]

A network that fails has a fault in matching, coding, loss or decoding. All networks get the same images: the first of
the training split, by their COCO numbers, in which no object is a crowd or small (an area under 32 x 32 pixels, COCO's
own limit). Each step has all eight, without augmentation, until the score is reached or the time is over. Then each
format is written and compared with the network. Results are written to OUT/overfit.json, model by model; a model that
is there already is trained again only with --again.
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

import numpy as np

from cvserve.console import say, table
from cvserve.data import open_dataset
from cvserve.data.objects import Objects
from cvserve.data.pipelines.detection import DetectionPipeline
from cvserve.data.source import DetectionSource, InstanceSource
from cvserve.postproc import ObjectMasks
from cvserve.preproc import ImageSource
from cvserve.runs import write_json

IMAGES = 8
SMALL_AREA = 32**2
WANTED = 0.9
SCORED_EVERY = 25
SEED = 0


@dataclass(frozen=True)
class Settings:
    """Says how a model is trained here. seconds: the time after which its training ends."""

    image_size: int = 256
    learning_rate: float = 0.002
    steps: int = 1000
    seconds: float = 600.0
    options: dict[str, Any] = field(default_factory=dict)


# Light forms of the published networks, so that each takes minutes on two cores. yolov1 learns one of the objects whose
# centres lie in one cell: with its 7 x 7 cells that is 28 of the 35, with 14 x 14 it is 32.
SETTINGS: dict[str, Settings] = {
    "retinanet": Settings(options={"backbone_options": {"width": 32}, "channels": 64, "depth": 2}),
    "ssd": Settings(options={"backbone_options": {"width": 16}}),
    "yolov1": Settings(learning_rate=0.001, options={"grid": 14}),
    "faster_rcnn": Settings(options={"backbone_options": {"width": 32}, "channels": 64, "units": 256}),
    "mask_rcnn": Settings(
        seconds=1200.0,
        options={
            **{"backbone_options": {"width": 32}, "channels": 64, "units": 256, "levels": (2, 5)},
            **{"objects": 30, "mask_channels": 64},
        },
    ),
    "fast_rcnn": Settings(options={"backbone_options": {"width": 32}, "units": 256}),
    "rcnn": Settings(options={"backbone_options": {"width": 32}, "units": 256}),
}


class Chosen:
    """Holds some images of a split, with the classes that are in them."""

    def __init__(self, source: InstanceSource, indices: Sequence[int]) -> None:
        self._source, self._indices = source, list(indices)
        labels = sorted({int(label) for index in indices for label in source.objects(index).labels})
        self._new = {label: new for new, label in enumerate(labels)}
        self.split = source.split
        self.classes = tuple(source.classes[label] for label in labels)
        self.category_ids = tuple(source.category_ids[label] for label in labels)

    def __len__(self) -> int:
        return len(self._indices)

    def image(self, index: int) -> ImageSource:
        return self._source.image(self._indices[index])

    def name(self, index: int) -> str:
        return self._source.name(self._indices[index])

    def image_id(self, index: int) -> int:
        return self._source.image_id(self._indices[index])

    def describe(self) -> str:
        return f"{len(self)} images, {len(self.classes)} classes of {self._source.describe()}"

    def objects(self, index: int) -> Objects:
        found = self._source.objects(self._indices[index])
        return Objects(
            found.boxes,
            np.array([self._new[int(label)] for label in found.labels], np.int32),
            found.ignored,
            found.areas,
        )

    def object_masks(self, index: int) -> ObjectMasks:
        return self._source.object_masks(self._indices[index])


def choose(source: DetectionSource, count: int = IMAGES) -> list[int]:
    """Chooses the images as the module's docstring describes."""
    fitting = []
    for index in sorted(range(len(source)), key=source.image_id):
        objects = source.objects(index)
        if len(objects) and not objects.ignored.any() and objects.areas.min() >= SMALL_AREA:
            fitting.append(index)
    return fitting[:count]


def overfit(name: str, source: Chosen, settings: Settings) -> dict[str, Any]:
    """Trains one model and returns its scores, times and parity."""
    import keras
    import tensorflow as tf

    from cvserve.models import build_model, default_preproc, find
    from cvserve.training.optimizer_config import OptimizerConfig
    from cvserve.training.step import Trainable, TrainStep, make_optimizer, specs_of

    keras.backend.clear_session()
    keras.utils.set_random_seed(SEED)
    begun = time.perf_counter()
    detector = build_model(
        "detection", name, num_classes=len(source.classes), image_size=settings.image_size, **settings.options
    )
    preproc = default_preproc("detection", name, settings.image_size)
    pipeline = DetectionPipeline(source, preproc, batch_size=len(source), masks=find("detection", name).masks)

    def loss(images: tf.Tensor, targets: tuple[tf.Tensor, ...]) -> tf.Tensor:
        return tf.add_n(list(detector.loss(images, *targets).values()))

    rate = settings.learning_rate
    config = OptimizerConfig(name="adamw", learning_rate=rate, weight_decay=0.0, clip_norm=10.0)
    trained = Trainable(detector.network, loss)
    specs = specs_of(pipeline.epoch(0))
    step = TrainStep(trained, make_optimizer(config, detector.network), average_decay=0.0, specs=specs)
    predict = tf.function(lambda images: detector.network(images, training=False))
    images, targets = next(iter(pipeline.batches(0)))

    report = None
    for number in range(1, settings.steps + 1):
        # A start without running means wants small steps.
        value = float(step.run(images, targets, tf.constant(rate * min(1.0, number / SCORED_EVERY), tf.float32)))
        seconds = time.perf_counter() - begun
        over = number == settings.steps or seconds > settings.seconds
        if number % SCORED_EVERY and not over:
            continue
        report = _score(predict(images), detector.postproc, pipeline)
        say(f"{name}: step {number}, {seconds:.0f} s, loss {value:.3f}, {report.headline()}")
        if over or min(report.map50, 1.0 if report.masks is None else report.masks.map50) >= WANTED:
            break
    assert report is not None
    seconds = time.perf_counter() - begun
    exported = _export(detector, preproc, pipeline, source, np.asarray(images))
    return {
        "map50": round(report.map50, 4),
        "map": round(report.map, 4),
        **({} if report.masks is None else {"mask_map50": round(report.masks.map50, 4)}),
        "steps": number,
        "seconds": round(seconds, 1),
        "parameters": detector.network.count_params(),
        "image_size": settings.image_size,
        "learning_rate": rate,
        "options": settings.options,
        "formats": exported,
    }


def _export(detector: Any, preproc: Any, pipeline: DetectionPipeline, source: Chosen, images: np.ndarray) -> Any:
    """Returns each format's parity over the images, or the reason why it cannot hold the network."""
    from cvserve.errors import CvserveError
    from cvserve.export import TARGETS, export_model

    ground_truth = []
    for index in pipeline.order(0).tolist():
        geometry, objects = pipeline.geometry(index), source.objects(index)
        areas = (objects.areas * geometry.scale_x * geometry.scale_y).astype(np.float32)
        ground_truth.append(replace(objects, boxes=geometry.to_input(objects.boxes), areas=areas))
    found: dict[str, Any] = {}
    for kind in TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                made = export_model(
                    detector.network,
                    Path(folder) / "model",
                    task="detection",
                    labels=source.classes,
                    preproc=preproc,
                    postproc=detector.postproc,
                    parity_images=images,
                    ground_truth=ground_truth,
                    formats=[kind],
                )
            except CvserveError as error:
                found[kind] = {"error": str(error)}
                say(f"  {kind}: {error}")
                continue
        [graph] = made.manifest.graphs
        assert graph.parity is not None
        found[kind] = graph.parity.model_dump(exclude_none=True)
        found[kind]["detect"] = graph.detect.parity.model_dump(exclude_none=True) if graph.detect else None
        say(
            f"  {kind}: {graph.parity.objects} objects, {graph.parity.unmatched:.2%} unmatched, least IoU "
            f"{graph.parity.box_iou_min}, mAP differs by {graph.parity.map_difference}"
        )
    return found


def _score(outputs: dict[str, Any], postproc: Any, pipeline: DetectionPipeline) -> Any:
    from cvserve.evaluation.detection import SCORING, detection_report
    from cvserve.postproc.decoders.detection import decode_detection_arrays, in_original

    source = pipeline.source
    arrays = {role: np.asarray(values) for role, values in outputs.items()}
    found = decode_detection_arrays(arrays, postproc, pipeline.preproc.height, pipeline.preproc.width, **SCORING)
    indices = pipeline.order(0).tolist()
    results = [
        in_original(item, pipeline.geometry(index), source.classes) for index, item in zip(indices, found, strict=True)
    ]
    masks = [source.object_masks(index) for index in indices] if found[0].masks is not None else None
    return detection_report(results, [source.objects(index) for index in indices], source.classes, masks=masks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of coco_mini, or another with boxes")
    parser.add_argument("--out", type=Path, default=Path("runs/overfit"), help="where results are kept")
    parser.add_argument("--models", nargs="+", help="names of detectors; all that are registered if not said")
    parser.add_argument("--again", action="store_true", help="train what has a result already, too")
    asked = parser.parse_args()

    from cvserve.models import list_models

    whole = open_dataset(asked.data, "train", task="detection")
    source = Chosen(whole, choose(whole))
    say(f"{source.describe()}: {', '.join(source.name(index) for index in range(len(source)))}")
    file = asked.out / "overfit.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    for name in asked.models or list_models("detection"):
        if name in results and not asked.again:
            say(f"{name}: has a result already")
            continue
        results[name] = overfit(name, source, SETTINGS.get(name, Settings()))
        asked.out.mkdir(parents=True, exist_ok=True)
        write_json(file, results)
    columns = ("map50", "map", "mask_map50", "steps", "seconds", "parameters", "image_size")
    rows = [
        (name, *(row.get(key) for key in columns), *(_verdict(part) for part in row["formats"].values()))
        for name, row in sorted(results.items())
    ]
    table(rows, ("model", *columns, "SavedModel", "ONNX", "TFLite"))


def _verdict(part: dict[str, Any]) -> str:
    return "no" if "error" in part else f"{part['max_abs_difference']:.0e}, {part['unmatched']:.1%} unmatched"


if __name__ == "__main__":
    main()
