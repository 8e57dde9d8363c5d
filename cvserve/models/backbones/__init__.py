"""Holds the feature extractors that all tasks share. Each module registers its backbone, and a classifier on it."""

from cvserve.models.backbones.registry import (
    Backbone,
    backbone_features,
    list_backbones,
    pick_strides,
    register_backbone,
)
from cvserve.models.backbones.weights import Features, fill_backbone, load_backbone_weights

__all__ = [
    "Backbone",
    "Features",
    "backbone_features",
    "fill_backbone",
    "list_backbones",
    "load_backbone_weights",
    "pick_strides",
    "register_backbone",
]
