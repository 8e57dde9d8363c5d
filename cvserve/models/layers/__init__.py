"""Building blocks that networks of several tasks share."""

from cvserve.models.layers.convolution import conv_norm_relu
from cvserve.models.layers.pixel_range import PIXEL_RANGES, pixel_range

__all__ = ["PIXEL_RANGES", "conv_norm_relu", "pixel_range"]
