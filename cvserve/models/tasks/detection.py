"""Describes detectors: boxes of objects, and masks of them where the network finds masks."""

from cvserve.models.tasks._task import ModelTask

MODEL_TASK = ModelTask(resize="letterbox", fewest=1, counted=80)
"""Parameters are counted for the 80 classes of COCO."""
