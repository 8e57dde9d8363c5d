"""The signatures beside the graph itself: which a task has, and their proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.artifact import CaptioningPostproc, Decoding, DetectSignature, Manifest, StepGraphs, file_entry
from cvserve.export.comparison.base import Comparison
from cvserve.export.comparison.detection import SignatureComparison
from cvserve.export.detect_signature import DETECT_SIGNATURE, detect_function
from cvserve.export.formats import Written
from cvserve.export.network import Network
from cvserve.export.parity import check_parity
from cvserve.export.step_graphs import ENCODE, STEP, step_functions
from cvserve.runtimes import Runtime
from cvserve.stepwise import StepwiseRuntime


@dataclass(frozen=True)
class Asked:
    """Parity images uint8 [N, H, W, 3], what errors call them, and the network's answers [N, ...] by name."""

    images: np.ndarray
    names: Sequence[str]
    expected: Mapping[str, np.ndarray]


def further_functions(network: Network, manifest: Manifest, *, detect: bool, steps: bool) -> dict[str, Any]:
    """The tf.functions of further signatures, by their names.

    Args:
        detect: a detector is to have the signature `detect`. steps: a captioner is to have its two halves.
    """
    if manifest.task == "detection" and detect:
        return {DETECT_SIGNATURE: detect_function(network, manifest)}
    if manifest.task == "captioning" and steps:
        from cvserve.models.captioning.captions import captions_of

        captions = captions_of(network.model)
        return {} if captions is None else step_functions(network, captions)
    return {}


def check_further(
    written: Written, runtime: Runtime, directory: Path, asked: Asked, manifest: Manifest, comparison: Comparison
) -> dict[str, Any]:
    """Proves the further signatures of a written format.

    Args:
        runtime: what `written.open` gave. comparison: of the graph itself.

    Returns:
        The fields of `Graph` that tell of them.

    Raises:
        ExportError: one of them does not run or answers differently.
    """
    files = {signature: file_entry(directory, path) for signature, path in written.further.items()}
    if DETECT_SIGNATURE in written.signatures:
        second = written.open_further(DETECT_SIGNATURE, runtime)
        try:
            what = f"the signature detect of the exported {written.format} graph"
            parity = check_parity(
                second, asked.images, asked.names, asked.expected, SignatureComparison(manifest), what=what
            )
        finally:
            second.close()
        return {"detect": DetectSignature(file=files.get(DETECT_SIGNATURE), parity=parity)}
    if STEP in written.signatures:
        halves = [written.open_further(signature, runtime) for signature in (ENCODE, STEP)]
        stepwise = StepwiseRuntime(
            halves[0], halves[1], manifest, CaptioningPostproc.of(manifest).decoding or Decoding()
        )
        try:
            what = f"the encoder and the step of the exported {written.format} graph"
            parity = check_parity(stepwise, asked.images, asked.names, asked.expected, comparison, what=what)
        finally:
            stepwise.close()
        return {"steps": StepGraphs(encode_file=files.get(ENCODE), step_file=files.get(STEP), parity=parity)}
    return {}
