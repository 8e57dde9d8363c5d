"""Classifiers: a backbone, global average pooling, one dense layer."""

from cvserve.models.classification import applications, resnet

__all__ = ["applications", "resnet"]
