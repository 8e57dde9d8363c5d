"""Builds the signature `detect`: decoding and suppression inside the graph, for clients without cvserve.

It gives the same answers as `cvserve.postproc` with the manifest's own settings, in pixels of the graph's input. It has
no control flow (see `cvserve.models.layers.nms`), so that every format can hold it. Two things differ: at most
`CANDIDATES` boxes an image take part in the suppression, and objects of equal scores may be in another order.
"""

from __future__ import annotations

from typing import Any

from cvserve.artifact import DetectionPostproc, Manifest
from cvserve.export.network import INPUT, Network
from cvserve.runtimes.tensorflow import import_tensorflow

DETECT_SIGNATURE = "detect"

CANDIDATES = 300
"""Number of boxes in the suppression, whose matrix of overlaps has its square; common for COCO's 100 results."""


def detect_spec(spec: DetectionPostproc) -> DetectionPostproc:
    """Returns the settings with which `cvserve.postproc` gives the same answers as the signature."""
    candidates = min(spec.max_candidates, CANDIDATES)
    return spec.model_copy(update={"max_candidates": candidates, "max_results": min(spec.max_results, candidates)})


def detect_function(network: Network, manifest: Manifest) -> Any:
    """Returns the tf.function of the signature.

    From uint8 `images` [B, H, W, 3] to a dict: `boxes` float32 [B, N, 4] x1, y1, x2, y2 in pixels of the images,
    `scores` float32 [B, N] descending, `classes` int32 [B, N], `count` int32 [B]. Beyond an image's count everything
    is 0. N is `max_results`, or all there can be.

    Raises:
        ExportError: the number of the network's boxes is not known when the graph is written.
    """
    tf = import_tensorflow()
    from cvserve.models.detection.suppression import detections

    spec = detect_spec(DetectionPostproc.of(manifest))
    roles = {output.name: output.role for output in manifest.outputs}

    def detect(images: Any) -> dict[str, Any]:
        by_role = {roles[name]: value for name, value in network(images).items() if name in roles}
        return detections(by_role, spec, *network.image_shape[:2])

    return tf.function(detect, [tf.TensorSpec((None, *network.image_shape), tf.uint8, name=INPUT)], autograph=False)
