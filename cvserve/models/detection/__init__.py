"""Detection networks. Importing this room registers them."""

from cvserve.models.detection import yolo  # noqa: F401  (registers itself)
from cvserve.models.detection.detector import DetectionLoss, Detector, create_detector

__all__ = ["DetectionLoss", "Detector", "create_detector"]
