"""Describes classifiers: one class for the whole image."""

from cvserve.models.tasks._task import ModelTask

MODEL_TASK = ModelTask(resize="short_side", fewest=1, counted=1000)
"""Parameters are counted for the 1000 classes of ImageNet."""
