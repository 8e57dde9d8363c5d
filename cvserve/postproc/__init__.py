"""Raw tensors to typed results, and results onto pictures. No TensorFlow."""

from cvserve.postproc.classification import class_scores, decode_classification
from cvserve.postproc.decode import decode_outputs
from cvserve.postproc.draw import draw
from cvserve.postproc.results import ClassificationResult, ClassScore, Result

__all__ = [
    "ClassScore",
    "ClassificationResult",
    "Result",
    "class_scores",
    "decode_classification",
    "decode_outputs",
    "draw",
]
