"""Feature extractors, shared by all tasks."""

from cvserve.models.backbones.applications import APPLICATIONS, application_features
from cvserve.models.backbones.resnet import resnet_features
from cvserve.models.backbones.weights import load_backbone_weights

__all__ = ["APPLICATIONS", "application_features", "load_backbone_weights", "resnet_features"]
