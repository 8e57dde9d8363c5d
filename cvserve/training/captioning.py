"""What is special about training a captioner: its vocabulary, its data, its loss, its score."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cvserve.artifact import CaptioningPostproc
from cvserve.data import open_dataset
from cvserve.data.pipelines.captioning import CaptionPipeline, all_captions
from cvserve.evaluation.captions import caption_report
from cvserve.models import build_model, default_preproc
from cvserve.models.captioning.captioner import Captioner
from cvserve.text import Tokenizer, learn_vocabulary
from cvserve.training.config import TrainConfig
from cvserve.training.step import Slowed, Trainable


class CaptioningTask:
    """Data, network, loss and score of a captioner; the trainer knows nothing more of it.

    monitor: the score that decides which epoch is kept, of the sentences that the network itself finds.
    """

    labels: tuple[str, ...] = ()

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        settings = config.captioning
        self.monitor: str = settings.monitor
        preproc = default_preproc(config.task, config.model, config.image_size)
        # Whatever a caption names must be seen.
        self.preproc = preproc.model_copy(update={"resize": "exact" if config.resize == "exact" else "letterbox"})
        training = open_dataset(config.data, "train", task="captioning")
        validation = open_dataset(config.data, "val", task="captioning")
        self.dataset = training.describe()
        vocabulary = learn_vocabulary(all_captions(training), **settings.vocabulary.model_dump())
        self.tokenizer = Tokenizer(vocabulary)
        self.postproc = CaptioningPostproc(vocabulary=vocabulary)
        self.training = CaptionPipeline(
            training,
            self.preproc,
            self.tokenizer,
            batch_size=config.batch_size,
            augmentation=config.augmentation,
            captions=settings.captions,
            shuffle=True,
            seed=config.seed,
            cache_bytes=int(config.cache_gib * 2**30),
            workers=config.workers,
        )
        self.validation = CaptionPipeline(
            validation,
            self.preproc,
            self.tokenizer,
            batch_size=config.batch_size,
            captions="first",
            cache_bytes=int(config.cache_gib * 2**30 / 4),
            workers=config.workers,
        )

    def build(self) -> Trainable:
        """A fresh network under the current dtype policy, and its loss."""
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

    def scores(self, predict: tf.types.experimental.PolymorphicFunction) -> dict[str, float]:
        """Scores on the validation split. predict: images to the network's output dict."""
        answers: list[str] = []
        references: list[tuple[str, ...]] = []
        for indices, (images, _) in self.validation.indexed(0):
            ids = np.asarray(predict(tf.constant(images))["token_ids"])
            answers += [self.tokenizer.decode(sentence) for sentence in ids]
            references += [self.validation.source.captions(index) for index in indices.tolist()]
        report = caption_report(answers, references)
        return {"cider_d": report.cider_d, "bleu4": report.bleu4, "exact": report.exact}
