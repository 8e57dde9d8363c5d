"""The signature `detect`: decoding and suppression inside the graph, for clients without cvserve.

It answers what `cvserve.postproc.decoders.detection` does with the manifest's postproc, in pixels of the graph's input.
Without control flow (see `cvserve.models.layers.nms`), so that every format holds it. Two things differ: at most
`CANDIDATES` boxes an image take part in the suppression, and of equal scores another one may come first.
"""

from __future__ import annotations

from typing import Any

from cvserve.artifact import DetectionPostproc, Manifest
from cvserve.export.network import INPUT, Network
from cvserve.runtimes.tensorflow import import_tensorflow

DETECT_SIGNATURE = "detect"

CANDIDATES = 300
"""The matrix of overlaps has the square of it; 300 is what COCO's 100 results are commonly chosen from."""


def detect_spec(spec: DetectionPostproc) -> DetectionPostproc:
    """What `cvserve.postproc` is to be told to answer as the signature does."""
    candidates = min(spec.max_candidates, CANDIDATES)
    return spec.model_copy(update={"max_candidates": candidates, "max_results": min(spec.max_results, candidates)})


def detect_function(network: Network, manifest: Manifest) -> Any:
    """The tf.function of the signature.

    From uint8 `images` [B, H, W, 3] to a dict: `boxes` float32 [B, N, 4] x1, y1, x2, y2 in pixels of the images,
    `scores` float32 [B, N] descending, `classes` int32 [B, N], `count` int32 [B]. Beyond an image's count everything
    is 0. N is `max_results`, or all there can be.

    Raises:
        ExportError: the number of the network's boxes is not known beforehand.
    """
    tf = import_tensorflow()
    from cvserve.models.detection.suppression import detections

    spec = detect_spec(DetectionPostproc.of(manifest))
    roles = {output.name: output.role for output in manifest.outputs}

    def detect(images: Any) -> dict[str, Any]:
        by_role = {roles[name]: value for name, value in network(images).items() if name in roles}
        return detections(by_role, spec, *network.image_shape[:2])

    return tf.function(detect, [tf.TensorSpec((None, *network.image_shape), tf.uint8, name=INPUT)], autograph=False)
