"""Holds the layers that networks of several tasks share."""

from cvserve.models.layers.bed_of_nails import BedOfNails
from cvserve.models.layers.bilinear_kernel import BilinearKernel
from cvserve.models.layers.convolution import conv_norm_relu
from cvserve.models.layers.fused_batch_norm import FusedBatchNormalization, fuse_batch_norm
from cvserve.models.layers.identity_kernel import IdentityKernel
from cvserve.models.layers.max_pooling_switches import MaxPoolingWithSwitches
from cvserve.models.layers.max_unpooling import MaxUnpooling
from cvserve.models.layers.nearest_unpooling import NearestUnpooling
from cvserve.models.layers.pixel_range import PIXEL_RANGES, pixel_range

__all__ = [
    "PIXEL_RANGES",
    "BedOfNails",
    "BilinearKernel",
    "FusedBatchNormalization",
    "IdentityKernel",
    "MaxPoolingWithSwitches",
    "MaxUnpooling",
    "NearestUnpooling",
    "conv_norm_relu",
    "fuse_batch_norm",
    "pixel_range",
]
