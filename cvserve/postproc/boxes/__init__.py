"""Decodes boxes, computes their overlaps and suppresses them, with numpy."""

from cvserve.postproc.boxes.candidates import Candidates, choose_candidates
from cvserve.postproc.boxes.coding import anchors, cells, decode_boxes, decode_deltas
from cvserve.postproc.boxes.overlaps import iou_matrix, nms

__all__ = [
    "Candidates",
    "anchors",
    "cells",
    "choose_candidates",
    "decode_boxes",
    "decode_deltas",
    "iou_matrix",
    "nms",
]
