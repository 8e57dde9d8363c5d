"""Detection networks. Importing this room registers them."""

from cvserve.models.detection import (  # noqa: F401  (register themselves)
    fast_rcnn,
    faster_rcnn,
    mask_rcnn,
    rcnn,
    retinanet,
    ssd,
    yolo,
    yolov1,
)
from cvserve.models.detection.detector import DetectionLoss, Detector, create_detector, learns_masks

__all__ = ["DetectionLoss", "Detector", "create_detector", "learns_masks"]
