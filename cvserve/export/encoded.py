"""The SavedModel's `bytes` signature against the OpenCV path, over encoded pictures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cvserve.artifact import EncodedInput, Manifest, Parity
from cvserve.errors import CvserveError, ExportError, ImageError
from cvserve.export.graph_preproc import load_pixels
from cvserve.export.network import Network
from cvserve.export.parity import same_class
from cvserve.export.saved_model import BYTES_INPUT, BYTES_SIGNATURE
from cvserve.postproc import class_scores
from cvserve.preproc import preprocess, read_header
from cvserve.runtimes.quiet import without_chatter
from cvserve.runtimes.tensorflow import TensorFlowRuntime, import_tensorflow

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WebP")
"""What the signature decodes; `cvserve.preproc` also takes TIFF, and the EXIF orientation of PNG and WebP."""

LIMIT = 0.05
"""Of a probability. The pixels differ by a rounding at most, which a network hardly amplifies; 0.05 means a fault."""

PIXEL_LIMIT = 2.0
"""Of the mean difference of a picture's pixels, 0 to 255: beyond it the picture was turned, cut or scaled otherwise."""


def as_png(images: np.ndarray) -> list[bytes]:
    """uint8 RGB [N, H, W, 3] as PNG files, without loss."""
    return [cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes() for image in images]


@without_chatter()
def check_encoded(
    runtime: TensorFlowRuntime, network: Network, pictures: Sequence[bytes], manifest: Manifest
) -> EncodedInput:
    """Asks the written signature for every picture and compares it with the network behind `cvserve.preproc`.

    Args:
        runtime: the written SavedModel.
        pictures: encoded; those that either side cannot decode are left out.

    Raises:
        ExportError: a picture differs by more than the limits, or none can be compared.
    """
    tf = import_tensorflow()
    spec = network.preproc
    load = tf.function(lambda data: load_pixels(data, spec), [tf.TensorSpec((), tf.string)], autograph=False)
    taken, pixels, largest, means = [], [], 0.0, []
    for number, data in enumerate(pictures):
        try:
            if read_header(data).format not in FORMATS:
                continue
            opencv, _ = preprocess(data, spec)
            in_graph = load(tf.constant(data)).numpy()
        except (ImageError, tf.errors.InvalidArgumentError):
            continue
        difference = np.abs(opencv.astype(np.int16) - in_graph)
        largest = max(largest, float(difference.max()))
        means.append(float(difference.mean()))
        if means[-1] > PIXEL_LIMIT:
            raise ExportError(
                f"the signature {BYTES_SIGNATURE!r} decodes or resizes encoded picture {number} differently: its "
                f"pixels differ by {means[-1]:.2f} on average, limit {PIXEL_LIMIT:g}"
            )
        taken.append(data)
        pixels.append(opencv)
    if not taken:
        raise ExportError(f"none of the {len(pictures)} encoded pictures is a {', '.join(FORMATS)} that can be decoded")
    signature = runtime.with_signature(BYTES_SIGNATURE)
    try:
        parts = [
            class_scores(signature.run({BYTES_INPUT: np.array(taken[start : start + 8], object)}), manifest)
            for start in range(0, len(taken), 8)
        ]
    except CvserveError as error:
        raise ExportError(f"the signature {BYTES_SIGNATURE!r} does not run: {error}") from error
    got, wanted = np.concatenate(parts), class_scores(network.answers(np.stack(pixels)), manifest)
    parity = Parity(
        images=len(taken),
        max_abs_difference=float(np.abs(got - wanted).max()),
        agreement=float(same_class(got, wanted).mean()),
        limit=LIMIT,
        against="keras behind cvserve.preproc",
    )
    if not parity.holds:
        raise ExportError(
            f"the signature {BYTES_SIGNATURE!r} answers differently from the OpenCV path: a probability is "
            f"{parity.max_abs_difference:.3g} away, limit {LIMIT:g}"
        )
    return EncodedInput(
        signature=BYTES_SIGNATURE,
        input=BYTES_INPUT,
        parity=parity,
        pixels_max_difference=largest,
        pixels_mean_difference=float(np.mean(means)),
    )
