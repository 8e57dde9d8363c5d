"""Trains classifiers: their data, network, loss and validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from cvserve.artifact import PostprocSpec
from cvserve.data import ImagePipeline, open_dataset
from cvserve.errors import InvalidInput
from cvserve.evaluation.metrics.classification import ClassificationMetric
from cvserve.models import build_model, default_preproc
from cvserve.training.task import Predict, training_options, validation_options

if TYPE_CHECKING:
    import tensorflow as tf

    from cvserve.training.config import TrainConfig
    from cvserve.training.step import Trainable


class ClassificationTask:
    """Implements `TrainingTask` for classifiers."""

    defaults: ClassVar[Mapping[str, Any]] = {}
    redirects: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self.monitor = "top1"
        self.postproc: PostprocSpec | None = None
        preproc = default_preproc(config.task, config.model, config.image_size)
        self.preproc = preproc.model_copy(update={"resize": config.resize})
        training, validation = open_dataset(config.data, "train"), open_dataset(config.data, "val")
        if len(training.classes) < 2:
            raise InvalidInput(f"{config.data} has one class only; a classifier needs two or more")
        self.labels = tuple(training.classes)
        self.dataset = training.describe()
        self.training = ImagePipeline(training, self.preproc, **training_options(config))
        self.validation = ImagePipeline(validation, self.preproc, **validation_options(config))

    def build(self) -> Trainable:
        """Builds a new network under the current dtype policy, and its loss."""
        import tensorflow as tf

        from cvserve.training.step import Trainable

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

    def validate(self, predict: Predict) -> dict[str, float]:
        """Returns the scores on the validation split."""
        metric = ClassificationMetric(self.labels)
        for indices, (images, labels) in self.validation.indexed(0):
            metric.update(predict(images)["probabilities"], labels, indices)
        report = metric.compute()
        return {"top1": report.top1, "top5": report.top5, "loss": report.loss}


TASK = ClassificationTask
