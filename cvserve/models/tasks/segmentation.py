"""Describes semantic segmentation networks: one class for each pixel, which is a uint8 in the outputs."""

from cvserve.models.tasks._task import ModelTask

MODEL_TASK = ModelTask(resize="letterbox", fewest=2, most=255, counted=21)
"""Parameters are counted for the 21 classes of PASCAL VOC, background included."""
