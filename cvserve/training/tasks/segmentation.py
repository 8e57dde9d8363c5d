"""Trains segmenters: their settings, data, network, loss and validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from cvserve.artifact import SegmentationPostproc
from cvserve.data import open_dataset
from cvserve.data.pipelines.segmentation import SegmentationPipeline
from cvserve.evaluation.metrics.segmentation import SegmentationMetric
from cvserve.models import build_model, default_preproc
from cvserve.training.class_weights import class_weights, masks_of
from cvserve.training.task import Predict, training_options, validation_options

if TYPE_CHECKING:
    import tensorflow as tf

    from cvserve.training.config import TrainConfig
    from cvserve.training.step import Trainable


class SegmentationTask:
    """Implements `TrainingTask` for segmenters.

    Validation counts the pixels of the network's input; `evaluate` counts those of the originals, which differ a
    little.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        "model": "unet",
        "resize": "letterbox",
        "batch_size": 8,
        "optimizer": {"name": "adamw", "learning_rate": 0.002, "weight_decay": 0.05, "clip_norm": 10.0},
        "label_smoothing": 0.0,
    }
    # It segments instances: its results are objects with boxes and masks, in the run and in the manifest.
    redirects: ClassVar[Mapping[str, str]] = {"mask_rcnn": "detection"}

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self.monitor = "miou"
        preproc = default_preproc(config.task, config.model, config.image_size)
        # Every pixel of an image needs a class, whatever the shape of the image is.
        self.preproc = preproc.model_copy(update={"resize": "exact" if config.resize == "exact" else "letterbox"})
        training = open_dataset(config.data, "train", task="segmentation")
        validation = open_dataset(config.data, "val", task="segmentation", classes=training.classes)
        self.labels = tuple(training.classes)
        self.dataset = training.describe()
        self.postproc = SegmentationPostproc(colors=training.colors) if training.colors else None
        self.class_weights = class_weights(config.segmentation.class_weights, masks_of(training), self.labels)
        self.training = SegmentationPipeline(training, self.preproc, **training_options(config))
        self.validation = SegmentationPipeline(validation, self.preproc, **validation_options(config))

    def build(self) -> Trainable:
        """Builds a new network under the current dtype policy, and its loss."""
        import tensorflow as tf

        from cvserve.training.step import Trainable

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

    def validate(self, predict: Predict) -> dict[str, float]:
        """Returns the scores on the validation split."""
        metric = SegmentationMetric(self.labels)
        for indices, (images, labels) in self.validation.indexed(0):
            metric.update(predict(images)["class_map"], labels, indices)
        report = metric.compute()
        return {"miou": report.miou, "pixel_accuracy": report.pixel_accuracy}


TASK = SegmentationTask
