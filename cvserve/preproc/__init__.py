"""Turns images into pixels: decodes, turns upright, resizes. With OpenCV and numpy, without TensorFlow.

`preprocess` is the one path that training, evaluation, export calibration, batch and serving share; that all of them
show the network the same bytes is what the rest of cvserve relies on.
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
