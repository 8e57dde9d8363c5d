"""Compares the SavedModel's signature `bytes` with preprocessing by OpenCV, on encoded images."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from cvserve.artifact import TASK_SPECS, EncodedInput, Manifest, PreprocSpec
from cvserve.errors import CvserveError, ExportError, ImageError
from cvserve.export.graph_preproc import load_pixels
from cvserve.export.network import Network
from cvserve.export.saved_model import BYTES_INPUT, BYTES_SIGNATURE
from cvserve.export.task_export import TASK_EXPORTS
from cvserve.preproc import preprocess, read_header
from cvserve.runtimes.quiet import without_startup_messages
from cvserve.runtimes.tensorflow import TensorFlowRuntime, import_tensorflow

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WebP")
"""What the signature decodes; see `is_comparable` for where it differs from `cvserve.preproc`."""

PIXEL_LIMIT = 2.0
"""Limit of the mean difference of an image's pixels, 0 to 255. Above it the image was turned, cut or scaled
otherwise."""


def as_png(images: np.ndarray) -> list[bytes]:
    """Encodes images uint8 RGB [N, H, W, 3] as PNG, without loss."""
    return [cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes() for image in images]


def is_comparable(data: bytes) -> bool:
    """Returns whether the signature decodes an image to the same pixels as `cvserve.preproc`.

    It does not know TIFF, the EXIF orientation of anything but JPEG, or a BMP's palette (of which it takes the indices
    for gray); those images are documented differences, not faults of the export.

    Raises:
        ImageError: no image, or one whose header is damaged.
    """
    header = read_header(data)
    if header.format == "BMP" and not _is_true_color(data):
        return False
    return header.format in FORMATS and (header.format == "JPEG" or header.orientation == 1)


def _is_true_color(bmp: bytes) -> bool:
    """Returns whether a BMP has 24 or 32 bits a pixel, in a BITMAPINFOHEADER (40 bytes) or a later one."""
    if len(bmp) < 30:
        return False
    (size,), (bits,) = struct.unpack_from("<I", bmp, 14), struct.unpack_from("<H", bmp, 28)
    return size >= 40 and bits in (24, 32)


@without_startup_messages()
def check_encoded(
    runtime: TensorFlowRuntime,
    network: Network,
    encoded_images: Sequence[bytes],
    manifest: Manifest,
    *,
    images: np.ndarray,
    report: Callable[[str], None],
) -> tuple[EncodedInput, list[bytes]]:
    """Runs the written signature on every image and compares it with the network behind `cvserve.preproc`.

    Args:
        runtime: the written SavedModel.
        encoded_images: those that either cannot decode, or that are not `is_comparable`, are left out.
        images: uint8 RGB [N, H, W, 3], compared as PNG if none of the encoded_images is left.
        report: is called with a line that says how many were left out.

    Returns:
        The figures, and the images that were compared.

    Raises:
        ExportError: an image differs by more than the limits, or none can be compared.
    """
    tf = import_tensorflow()
    spec = network.preproc
    load = tf.function(lambda data: load_pixels(data, spec), [tf.TensorSpec((), tf.string)], autograph=False)
    taken, pixels, differences = _compare(tf, load, encoded_images, spec)
    if len(taken) < len(encoded_images):
        report(
            f"{len(encoded_images) - len(taken)} of {len(encoded_images)} encoded images left out of the comparison: "
            f"the signature {BYTES_SIGNATURE!r} does not take them as cvserve does"
        )
    if not taken:
        report("comparing the images as PNG instead")
        taken, pixels, differences = _compare(tf, load, as_png(images), spec)
    if not taken:
        raise ExportError(f"the signature {BYTES_SIGNATURE!r} decodes neither an encoded image nor a plain PNG")
    signature = runtime.with_signature(BYTES_SIGNATURE)
    comparison = TASK_EXPORTS[manifest.task].encoded_comparison(manifest, ties=network.ties)
    try:
        parts = [
            signature.run({BYTES_INPUT: np.array(taken[start : start + 8], object)})
            for start in range(0, len(taken), 8)
        ]
        outputs = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        compared = comparison.compare(outputs, network.answers(np.stack(pixels)))
    except CvserveError as error:
        raise ExportError(f"the signature {BYTES_SIGNATURE!r} does not run: {error}") from error
    parity = TASK_SPECS[manifest.task].parity(
        images=len(taken),
        max_abs_difference=float(compared.differences.max()),
        agreement=float(compared.agreeing.mean()),
        limit=comparison.limit,
        against="keras behind cvserve.preproc",
        **comparison.figures([compared]),
    )
    if not parity.holds:
        raise ExportError(
            f"the signature {BYTES_SIGNATURE!r} answers differently from the OpenCV path: {comparison.what} is "
            f"{parity.max_abs_difference:.3g} away, limit {comparison.limit:g}"
        )
    figures = EncodedInput(
        signature=BYTES_SIGNATURE,
        input=BYTES_INPUT,
        parity=parity,
        pixels_max_difference=float(max(difference.max() for difference in differences)),
        pixels_mean_difference=float(np.mean([difference.mean() for difference in differences])),
    )
    return figures, taken


def _compare(
    tf: Any, load: Callable[[Any], Any], images: Sequence[bytes], spec: PreprocSpec
) -> tuple[list[bytes], list[np.ndarray], list[np.ndarray]]:
    """Returns the images that both decode, their pixels by OpenCV, and the difference of each image's pixels."""
    taken, pixels, differences = [], [], []
    for number, data in enumerate(images):
        try:
            if not is_comparable(data):
                continue
            opencv, _ = preprocess(data, spec)
            in_graph = load(tf.constant(data)).numpy()
        except (ImageError, tf.errors.InvalidArgumentError):
            continue
        difference = np.abs(opencv.astype(np.int16) - in_graph)
        if difference.mean() > PIXEL_LIMIT:
            raise ExportError(
                f"the signature {BYTES_SIGNATURE!r} decodes or resizes encoded image {number} differently: its "
                f"pixels differ by {difference.mean():.2f} on average, limit {PIXEL_LIMIT:g}"
            )
        taken.append(data)
        pixels.append(opencv)
        differences.append(difference)
    return taken, pixels, differences
