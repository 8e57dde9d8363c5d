"""The signatures beside the graph itself: which a task has, and their proof."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cvserve.artifact import CaptioningPostproc, Decoding, DetectSignature, Manifest, StepGraphs, file_entry
from cvserve.export.comparison.base import Comparison
from cvserve.export.comparison.detection import SignatureComparison
from cvserve.export.detect_signature import DETECT_SIGNATURE, detect_function
from cvserve.export.network import Network
from cvserve.export.parity import ParityImages, check_parity
from cvserve.export.step_graphs import ENCODE, STEP, step_functions
from cvserve.export.writing import WrittenGraph
from cvserve.runtimes import Runtime
from cvserve.stepwise import StepwiseRuntime


def extra_signatures(network: Network, manifest: Manifest, *, detect: bool, steps: bool) -> dict[str, Any]:
    """Returns the tf.functions of the extra signatures that a graph of the task gets, by name.

    Args:
        detect: a detector gets the signature `detect`.
        steps: a captioning network gets its encoder and its step.
    """
    if manifest.task == "detection" and detect:
        return {DETECT_SIGNATURE: detect_function(network, manifest)}
    if manifest.task == "captioning" and steps:
        from cvserve.models.captioning.captions import captions_of

        captions = captions_of(network.model)
        return {} if captions is None else step_functions(network, captions)
    return {}


def check_extra_signatures(
    graph: WrittenGraph,
    runtime: Runtime,
    directory: Path,
    images: ParityImages,
    manifest: Manifest,
    comparison: Comparison,
) -> dict[str, Any]:
    """Compares the extra signatures of a written graph with the network.

    Args:
        runtime: what `graph.open` returned.
        directory: of the artifact.
        comparison: of the graph itself.

    Returns:
        Their fields of `cvserve.artifact.Graph`.

    Raises:
        ExportError: one of them does not run or answers differently.
    """
    files = {signature: file_entry(directory, path) for signature, path in graph.written.signature_files.items()}
    if DETECT_SIGNATURE in graph.signatures:
        second = graph.open_signature(DETECT_SIGNATURE, runtime)
        try:
            what = f"the signature detect of the exported {graph.target.name} graph"
            parity = check_parity(second, images, SignatureComparison(manifest), what=what)
        finally:
            second.close()
        return {"detect": DetectSignature(file=files.get(DETECT_SIGNATURE), parity=parity)}
    if STEP in graph.signatures:
        halves = [graph.open_signature(signature, runtime) for signature in (ENCODE, STEP)]
        stepwise = StepwiseRuntime(
            halves[0], halves[1], manifest, CaptioningPostproc.of(manifest).decoding or Decoding()
        )
        try:
            what = f"the encoder and the step of the exported {graph.target.name} graph"
            parity = check_parity(stepwise, images, comparison, what=what)
        finally:
            stepwise.close()
        return {"steps": StepGraphs(encode_file=files.get(ENCODE), step_file=files.get(STEP), parity=parity)}
    return {}
