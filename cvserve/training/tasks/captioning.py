"""Trains captioners: their settings, vocabulary, data, network, loss and validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from cvserve.artifact import CaptioningPostproc
from cvserve.data import open_dataset
from cvserve.data.pipelines.captioning import AUGMENTATION, CaptionPipeline, all_captions
from cvserve.evaluation.metrics.captioning import CaptionMetric
from cvserve.models import build_model, default_preproc
from cvserve.text import Tokenizer, learn_vocabulary
from cvserve.training.task import Predict, training_options, validation_options

if TYPE_CHECKING:
    import tensorflow as tf

    from cvserve.training.config import TrainConfig
    from cvserve.training.step import Trainable


class CaptioningTask:
    """Implements `TrainingTask` for captioners. Validation scores the sentences that the network finds by itself."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "model": "show_attend_tell",
        "resize": "letterbox",
        "optimizer": {"name": "adamw", "learning_rate": 0.002, "weight_decay": 0.05, "clip_norm": 5.0},
        "augmentation": AUGMENTATION.model_dump(),
    }
    redirects: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self.labels: tuple[str, ...] = ()
        settings = config.captioning
        self.monitor: str = settings.monitor
        preproc = default_preproc(config.task, config.model, config.image_size)
        # Everything that a caption names must be visible.
        self.preproc = preproc.model_copy(update={"resize": "exact" if config.resize == "exact" else "letterbox"})
        training = open_dataset(config.data, "train", task="captioning")
        validation = open_dataset(config.data, "val", task="captioning")
        self.dataset = training.describe()
        vocabulary = learn_vocabulary(all_captions(training), **settings.vocabulary.model_dump())
        self.tokenizer = Tokenizer(vocabulary)
        self.postproc = CaptioningPostproc(vocabulary=vocabulary)
        self.training = CaptionPipeline(
            training, self.preproc, self.tokenizer, captions=settings.captions, **training_options(config)
        )
        self.validation = CaptionPipeline(
            validation, self.preproc, self.tokenizer, captions="first", **validation_options(config)
        )

    def build(self) -> Trainable:
        """Builds a new network under the current dtype policy, and its loss."""
        import tensorflow as tf

        from cvserve.models.captioning.captioner import Captioner
        from cvserve.training.step import Slowed, Trainable

        config, settings = self._config, self._config.captioning
        built = build_model(
            config.task,
            config.model,
            num_classes=len(self.tokenizer.vocabulary),
            length=self.tokenizer.length,
            image_size=(self.preproc.height, self.preproc.width),
            weights=config.weights,
            **config.model_options,
        )
        assert isinstance(built, Captioner), "networks of this task are made by `captioner`"
        slowed = None
        if settings.freeze_epochs or settings.backbone_rate < 1:
            slowed = Slowed(
                built.backbone.trainable_variables,
                round(settings.freeze_epochs * self.training.steps),
                settings.backbone_rate,
                tf.Variable(False, trainable=False),
            )

        def loss(images: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
            parts = built.loss(
                images,
                tokens,
                smoothing=config.label_smoothing,
                attention_penalty=settings.attention_penalty,
                is_frozen=slowed.is_frozen if slowed is not None and slowed.frozen_steps else None,
            )
            return tf.add_n(list(parts.values()))

        return Trainable(built.network, loss, slowed)

    def validate(self, predict: Predict) -> dict[str, float]:
        """Returns the scores on the validation split."""
        metric = CaptionMetric()
        for indices, (images, _) in self.validation.indexed(0):
            sentences = [self.tokenizer.decode(ids) for ids in predict(images)["token_ids"]]
            metric.update(sentences, [self.validation.source.captions(index) for index in indices.tolist()], indices)
        report = metric.compute()
        return {"cider_d": report.cider_d, "bleu4": report.bleu4, "exact": report.exact}


TASK = CaptioningTask
