"""Trains detectors: their data, network, loss and validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from cvserve.artifact import DetectionPostproc
from cvserve.data import open_dataset
from cvserve.data.pipelines.detection import DetectionPipeline
from cvserve.data.source import InstanceSource
from cvserve.evaluation.detection import SCORING, GroundTruth
from cvserve.evaluation.metrics.detection import DetectionMetric
from cvserve.models import build_model, default_preproc, find
from cvserve.postproc.decoders.detection import decode_detection_arrays, in_original
from cvserve.training.task import Predict, training_options, validation_options

if TYPE_CHECKING:
    import tensorflow as tf

    from cvserve.training.config import TrainConfig
    from cvserve.training.step import Trainable


class DetectionTask:
    """Implements `TrainingTask` for detectors. The best epoch of a network with masks is that of the best masks."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "model": "yolo",
        "resize": "letterbox",
        "batch_size": 8,
        "optimizer": {"name": "adamw", "learning_rate": 0.002, "weight_decay": 0.05, "clip_norm": 10.0},
        "label_smoothing": 0.0,
    }
    redirects: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._with_masks = find(config.task, config.model).masks
        self.monitor = "mask_map" if self._with_masks else "map"
        self.postproc: DetectionPostproc | None = None  # decided by the network
        preproc = default_preproc(config.task, config.model, config.image_size)
        # Boxes need the whole image, whatever its shape is.
        self.preproc = preproc.model_copy(update={"resize": "exact" if config.resize == "exact" else "letterbox"})
        training = open_dataset(config.data, "train", task="detection")
        validation = open_dataset(config.data, "val", task="detection", classes=training.classes)
        self.labels = tuple(training.classes)
        self.dataset = training.describe()
        self.training = DetectionPipeline(
            training,
            self.preproc,
            epochs=config.epochs,
            masks=self._with_masks,
            **training_options(config),
        )
        self.validation = DetectionPipeline(
            validation, self.preproc, masks=self._with_masks, **validation_options(config)
        )

    def build(self) -> Trainable:
        """Builds a new network under the current dtype policy, and its loss."""
        import tensorflow as tf

        from cvserve.training.step import Trainable

        config = self._config
        detector = build_model(
            config.task,
            config.model,
            num_classes=len(self.labels),
            image_size=(self.preproc.height, self.preproc.width),
            weights=config.weights,
            **config.model_options,
        )

        def loss(images: tf.Tensor, targets: tuple[tf.Tensor, ...]) -> tf.Tensor:
            return tf.add_n(list(detector.loss(images, *targets).values()))

        assert isinstance(detector.postproc, DetectionPostproc)
        self.postproc = detector.postproc
        return Trainable(detector.network, loss)

    def validate(self, predict: Predict) -> dict[str, float]:
        """Returns the scores on the validation split, in the coordinates of the original images."""
        assert self.postproc is not None, "build() is called first"
        metric = DetectionMetric(self.labels, masks=self._with_masks)
        for indices, (images, _) in self.validation.indexed(0):
            objects = decode_detection_arrays(
                predict(images), self.postproc, self.preproc.height, self.preproc.width, **SCORING
            )
            places = indices.tolist()
            results = [
                in_original(item, self.validation.geometry(index), self.labels)
                for index, item in zip(places, objects, strict=True)
            ]
            metric.update(results, [self._ground_truth(index) for index in places], places)
        report = metric.compute()
        scores = {"map": report.map, "map50": report.map50}
        if report.masks is not None:
            scores |= {"mask_map": report.masks.map, "mask_map50": report.masks.map50}
        return scores

    def _ground_truth(self, index: int) -> GroundTruth:
        source = self.validation.source
        masks = cast(InstanceSource, source).object_masks(index) if self._with_masks else None
        return GroundTruth(source.objects(index), masks)


TASK = DetectionTask
