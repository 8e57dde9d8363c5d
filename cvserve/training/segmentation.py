"""What is special about training a segmenter: its data, its loss, its score."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cvserve.artifact import SegmentationPostproc
from cvserve.data import open_dataset
from cvserve.data.pipelines.segmentation import SegmentationPipeline
from cvserve.evaluation.segmentation import confusion_matrix, segmentation_report
from cvserve.models import build_model, default_preproc
from cvserve.training.class_weights import class_weights, masks_of
from cvserve.training.config import TrainConfig
from cvserve.training.step import Trainable


class SegmentationTask:
    """Data, network, loss and score of a segmenter; the trainer knows nothing more of it.

    monitor: the score that decides which epoch is kept. Scores are of the network's own pixels; those of `evaluate`,
    of the originals' pixels, differ a little.
    """

    monitor = "miou"

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        preproc = default_preproc(config.task, config.model, config.image_size)
        # Every pixel of an image is to have an answer, whatever its shape.
        self.preproc = preproc.model_copy(update={"resize": "exact" if config.resize == "exact" else "letterbox"})
        training = open_dataset(config.data, "train", task="segmentation")
        validation = open_dataset(config.data, "val", task="segmentation", classes=training.classes)
        self.labels = tuple(training.classes)
        self.dataset = training.describe()
        self.postproc = SegmentationPostproc(colors=training.colors) if training.colors else None
        self.class_weights = class_weights(config.segmentation.class_weights, masks_of(training), self.labels)
        self.training = SegmentationPipeline(
            training,
            self.preproc,
            batch_size=config.batch_size,
            augmentation=config.augmentation,
            shuffle=True,
            seed=config.seed,
            cache_bytes=int(config.cache_gib * 2**30),
            workers=config.workers,
        )
        self.validation = SegmentationPipeline(
            validation,
            self.preproc,
            batch_size=config.batch_size,
            cache_bytes=int(config.cache_gib * 2**30 / 4),
            workers=config.workers,
        )

    def build(self) -> Trainable:
        """A fresh network under the current dtype policy, and its loss."""
        config, settings = self._config, self._config.segmentation
        built = build_model(
            config.task,
            config.model,
            num_classes=len(self.labels),
            image_size=(self.preproc.height, self.preproc.width),
            weights=config.weights,
            **config.model_options,
        )

        def loss(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            parts = built.loss(
                images,
                labels,
                losses=settings.losses,
                class_weights=self.class_weights,
                focal_gamma=settings.focal_gamma,
                smoothing=config.label_smoothing,
            )
            return tf.add_n(list(parts.values()))

        return Trainable(built.network, loss)

    def scores(self, predict: tf.types.experimental.PolymorphicFunction) -> dict[str, float]:
        """Scores on the validation split. predict: images to the network's output dict."""
        confusion = np.zeros((len(self.labels), len(self.labels)), np.int64)
        for images, labels in self.validation.batches(0):
            answers = np.asarray(predict(tf.constant(images))["class_map"])
            confusion += confusion_matrix(np.asarray(labels), answers, len(self.labels))
        report = segmentation_report(confusion, self.labels)
        return {"miou": report.miou, "pixel_accuracy": report.pixel_accuracy}
