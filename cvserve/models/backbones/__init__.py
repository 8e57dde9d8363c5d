"""Feature extractors, shared by all tasks."""

from cvserve.models.backbones.applications import APPLICATIONS, application_features
from cvserve.models.backbones.features import Features, backbone_features, list_backbones, pick_strides
from cvserve.models.backbones.resnet import resnet_features
from cvserve.models.backbones.weights import load_backbone_weights

__all__ = [
    "APPLICATIONS",
    "Features",
    "application_features",
    "backbone_features",
    "list_backbones",
    "load_backbone_weights",
    "pick_strides",
    "resnet_features",
]
