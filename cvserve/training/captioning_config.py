"""Defines the settings of training that only captioners have."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cvserve.artifact.specs import Spec

VocabularyKind = Literal["words", "subwords"]
CaptionScore = Literal["cider_d", "bleu4", "exact"]


class VocabularyConfig(Spec):
    """Holds how the vocabulary is learned from the training captions; see `cvserve.text.learn_vocabulary`."""

    kind: VocabularyKind = "words"
    min_count: int = Field(default=5, ge=1)
    size: int = Field(default=10_000, ge=5)
    length: int | None = Field(default=None, ge=3, le=1024)


class CaptioningConfig(Spec):
    """Holds the settings that only captioners have.

    captions: which captions of an image an epoch shows: one "drawn" at random, the "first", or "all".
    monitor: the score on the validation split that decides which epoch is kept: "cider_d", "bleu4" or "exact".
    attention_penalty: weight of (1 - sum_t alpha_ti)^2, mean over the positions i, for networks with attention: it
    makes them attend to every position (doubly stochastic attention, Xu et al. 2015, arXiv 1502.03044, equation 14).
    freeze_epochs: for how many epochs the backbone is frozen, its normalisation included. backbone_rate: the fraction
    of the learning rate that the backbone has afterwards.
    """

    vocabulary: VocabularyConfig = VocabularyConfig()
    captions: Literal["drawn", "first", "all"] = "drawn"
    monitor: CaptionScore = "cider_d"
    attention_penalty: float = Field(default=0.0, ge=0)
    freeze_epochs: float = Field(default=0.0, ge=0)
    backbone_rate: float = Field(default=1.0, ge=0, le=1)
