"""What is special about training a classifier: its data, its loss, its score."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cvserve.artifact import PostprocSpec
from cvserve.data import ImagePipeline, open_dataset
from cvserve.errors import InvalidInput
from cvserve.evaluation.classification import classification_report
from cvserve.models import build_model, default_preproc
from cvserve.training.config import TrainConfig
from cvserve.training.step import Trainable


class ClassificationTask:
    """Data, network, loss and score of a classifier; the trainer knows nothing more of it.

    monitor: the score that decides which epoch is kept. postproc: None takes what the export makes of the outputs.
    """

    monitor = "top1"
    postproc: PostprocSpec | None = None

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        preproc = default_preproc(config.task, config.model, config.image_size)
        self.preproc = preproc.model_copy(update={"resize": config.resize})
        training, validation = open_dataset(config.data, "train"), open_dataset(config.data, "val")
        if len(training.classes) < 2:
            raise InvalidInput(f"{config.data} has one class only; a classifier needs two or more")
        self.labels = tuple(training.classes)
        self.dataset = training.describe()
        self.training = ImagePipeline(
            training,
            self.preproc,
            batch_size=config.batch_size,
            augmentation=config.augmentation,
            shuffle=True,
            seed=config.seed,
            cache_bytes=int(config.cache_gib * 2**30),
            workers=config.workers,
        )
        self.validation = ImagePipeline(
            validation,
            self.preproc,
            batch_size=config.batch_size,
            cache_bytes=int(config.cache_gib * 2**30 / 4),
            workers=config.workers,
        )

    def build(self) -> Trainable:
        """A fresh network under the current dtype policy, and its loss."""
        config = self._config
        built = build_model(
            config.task,
            config.model,
            num_classes=len(self.labels),
            image_size=(self.preproc.height, self.preproc.width),
            weights=config.weights,
            **config.model_options,
        )

        def loss(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            return tf.add_n(list(built.loss(images, labels, smoothing=config.label_smoothing).values()))

        return Trainable(built.network, loss)

    def scores(self, predict: tf.types.experimental.PolymorphicFunction) -> dict[str, float]:
        """Scores on the validation split. predict: images to the network's output dict."""
        probabilities, labels = [], []
        for images, targets in self.validation.batches(0):
            probabilities.append(predict(images)["probabilities"].numpy())
            labels.append(targets.numpy())
        report = classification_report(np.concatenate(probabilities), np.concatenate(labels), self.labels)
        return {"top1": report.top1, "top5": report.top5, "loss": report.loss}
