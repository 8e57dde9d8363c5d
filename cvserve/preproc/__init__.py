"""Turns images into pixels: decodes, turns upright, resizes. With OpenCV and numpy, without TensorFlow.

Training, evaluation, export, batch prediction and serving all use `preprocess`, so that the network always gets the
same pixels for an image. The rest of cvserve relies on this.
"""

from cvserve.preproc.decode import MAX_PIXELS, decode, preprocess
from cvserve.preproc.geometry import Geometry, resize, resize_to
from cvserve.preproc.header import FORMATS, ImageHeader, read_header
from cvserve.preproc.source import ImageSource
from cvserve.preproc.tensors import encode_input

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Geometry",
    "ImageHeader",
    "ImageSource",
    "decode",
    "encode_input",
    "preprocess",
    "read_header",
    "resize",
    "resize_to",
]
