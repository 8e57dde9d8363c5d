"""Writes the SavedModel, with a signature that takes pixels and one that takes encoded images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvserve.export.graph_preproc import load_pixels
from cvserve.export.network import Network
from cvserve.runtimes.tensorflow import import_tensorflow

BYTES_SIGNATURE = "bytes"
BYTES_INPUT = "image_bytes"


def write_saved_model(network: Network, directory: Path, signatures: Mapping[str, Any] | None = None) -> list[Path]:
    """Writes the SavedModel into a directory, which may hold other files.

    Signatures: `serving_default` takes uint8 `images` [B, H, W, 3]; `bytes` takes strings `image_bytes` [B] (JPEG,
    PNG, GIF, BMP, WebP), which it decodes and resizes in the graph. Both give the network's outputs by name.

    Args:
        signatures: tf.functions of extra signatures, by name.

    Returns:
        The files, saved_model.pb first.
    """
    tf = import_tensorflow()
    from keras.export import ExportArchive

    def serve_bytes(image_bytes: Any) -> dict[str, Any]:
        pixels = tf.map_fn(
            lambda data: load_pixels(data, network.preproc),
            image_bytes,
            fn_output_signature=tf.TensorSpec(network.image_shape, tf.uint8),
        )
        answers: dict[str, Any] = network.function(pixels)
        return answers

    strings = tf.TensorSpec((None,), tf.string, name=BYTES_INPUT)
    archive = ExportArchive()
    # Not archive.track(model): the endpoints' own variables are enough, and would be written twice.
    archive.add_endpoint("serving_default", network.function)
    archive.add_endpoint(BYTES_SIGNATURE, tf.function(serve_bytes, [strings], autograph=False))
    for signature, function in (signatures or {}).items():
        archive.add_endpoint(signature, function)
    before = set(directory.rglob("*"))
    # Gradients of the network's functions (swish has its own) are of no use in what is served, and took two thirds of
    # the time to write.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    archive.write_out(str(directory), options=options, verbose=False)
    written = sorted(path for path in set(directory.rglob("*")) - before if path.is_file())
    graph = directory / "saved_model.pb"
    return [graph, *(path for path in written if path != graph)]
