"""What is special about training a detector: its data, its loss, its score."""

from __future__ import annotations

from typing import cast

import numpy as np
import tensorflow as tf

from cvserve.artifact import DetectionPostproc
from cvserve.data import open_dataset
from cvserve.data.pipelines.detection import DetectionPipeline
from cvserve.data.source import InstanceSource
from cvserve.evaluation.detection import SCORING, detection_report
from cvserve.models import build_model, default_preproc, find
from cvserve.postproc import DetectionResult
from cvserve.postproc.decoders.detection import decode_detection_arrays, in_original
from cvserve.training.config import TrainConfig
from cvserve.training.step import Trainable


class DetectionTask:
    """Data, network, loss and score of a detector; the trainer knows nothing more of it.

    monitor: the score that decides which epoch is kept; of networks with masks that of the masks.
    """

    monitor = "map"

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._with_masks = find(config.task, config.model).masks
        if self._with_masks:
            self.monitor = "mask_map"
        preproc = default_preproc(config.task, config.model, config.image_size)
        # Boxes need the whole image, whatever its shape.
        self.preproc = preproc.model_copy(update={"resize": "exact" if config.resize == "exact" else "letterbox"})
        training = open_dataset(config.data, "train", task="detection")
        validation = open_dataset(config.data, "val", task="detection", classes=training.classes)
        self.labels = tuple(training.classes)
        self.dataset = training.describe()
        self.training = DetectionPipeline(
            training,
            self.preproc,
            batch_size=config.batch_size,
            augmentation=config.augmentation,
            shuffle=True,
            seed=config.seed,
            epochs=config.epochs,
            masks=self._with_masks,
            cache_bytes=int(config.cache_gib * 2**30),
            workers=config.workers,
        )
        self.postproc: DetectionPostproc | None = None
        self.validation = DetectionPipeline(
            validation,
            self.preproc,
            batch_size=config.batch_size,
            masks=self._with_masks,
            cache_bytes=int(config.cache_gib * 2**30 / 4),
            workers=config.workers,
        )

    def build(self) -> Trainable:
        """A fresh network under the current dtype policy, and its loss."""
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

    def scores(self, predict: tf.types.experimental.PolymorphicFunction) -> dict[str, float]:
        """Scores on the validation split. predict: images to the network's output dict."""
        results: list[DetectionResult] = []
        shown: list[int] = []
        assert self.postproc is not None, "build() is called first"
        height, width = self.preproc.height, self.preproc.width
        order = self.validation.order(0)
        for start in range(0, len(order), self._config.batch_size):
            indices = order[start : start + self._config.batch_size]
            images, _ = self.validation.batch(0, indices)
            outputs = {name: np.asarray(values) for name, values in predict(tf.constant(images)).items()}
            found = decode_detection_arrays(outputs, self.postproc, height, width, **SCORING)
            for index, item in zip(indices.tolist(), found, strict=True):
                results.append(in_original(item, self.validation.geometry(index), self.labels))
                shown.append(index)
        source = self.validation.source
        masks = [cast(InstanceSource, source).object_masks(index) for index in shown] if self._with_masks else None
        report = detection_report(results, [source.objects(index) for index in shown], self.labels, masks=masks)
        scores = {"map": report.map, "map50": report.map50}
        if report.masks is not None:
            scores |= {"mask_map": report.masks.map, "mask_map50": report.masks.map50}
        return scores
