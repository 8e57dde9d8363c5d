"""Detection networks. Importing this room registers them."""

from cvserve.models.detection.detector import DetectionLoss, Detector, create_detector

__all__ = ["DetectionLoss", "Detector", "create_detector"]
