"""Holds networks that are only classifiers. Every backbone is a classifier as well, see `cvserve.models.backbones`."""
