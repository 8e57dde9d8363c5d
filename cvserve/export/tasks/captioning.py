"""Exports captioning networks: the whole graph, and its two halves, with which sentences are searched outside of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvserve.artifact import (
    CaptioningPostproc,
    Decoding,
    Manifest,
    OutputSpec,
    PostprocSpec,
    StepGraphs,
    file_entry,
)
from cvserve.errors import InvalidInput
from cvserve.export.checks import need_outputs
from cvserve.export.comparison.base import Comparison
from cvserve.export.comparison.captioning import CaptionComparison
from cvserve.export.network import Network
from cvserve.export.parity import ParityImages, check_parity
from cvserve.export.step_graphs import ENCODE, STEP, step_functions
from cvserve.export.task_export import TaskExport
from cvserve.export.writing import WrittenGraph
from cvserve.runtimes import Runtime
from cvserve.stepwise import StepwiseRuntime

if TYPE_CHECKING:
    import keras

_ENCODED_LIMIT = 0.25


class CaptioningExport(TaskExport):
    """Exports captioning networks."""

    task = "captioning"
    takes_decoding = True

    def prepare(
        self, model: keras.Model, postproc: PostprocSpec | None, decoding: Decoding | None
    ) -> tuple[keras.Model, PostprocSpec | None]:
        """Returns the model with the wanted decoding, which its postproc then names as well."""
        from cvserve.models.captioning.captions import captions_of, with_decoding

        if decoding is not None:
            model = with_decoding(model, decoding)
        captions = captions_of(model)
        if captions is not None and postproc is not None:
            postproc = postproc.model_copy(update={"decoding": captions.decoding})
        return model, postproc

    def check_outputs(
        self,
        outputs: Sequence[OutputSpec],
        answers: Mapping[str, np.ndarray],
        labels: Sequence[str],
        postproc: PostprocSpec | None,
    ) -> None:
        """Checks that the token ids are whole numbers of the vocabulary."""
        name = need_outputs(self.task, outputs, "token_ids", "log_probability")["token_ids"].name
        if not isinstance(postproc, CaptioningPostproc):
            raise InvalidInput("a captioning model needs postproc.vocabulary, which says what its token ids mean")
        token_ids, known = answers[name], len(postproc.vocabulary)
        if token_ids.dtype.kind not in "iu":
            raise InvalidInput(f"token ids are whole numbers, but {name!r} is {token_ids.dtype}")
        if token_ids.max() >= known:
            raise InvalidInput(
                f"a vocabulary of {known} tokens does not fit a network that answers with token {token_ids.max()}"
            )

    def comparison(
        self, manifest: Manifest, tolerance: float, *, ground_truth: Sequence[Any] | None = None, ties: bool = False
    ) -> Comparison:
        """Compares the sentences and their log probabilities."""
        return CaptionComparison(manifest, tolerance)

    def encoded_comparison(self, manifest: Manifest, *, ties: bool = False) -> Comparison:
        """Compares the log probabilities of the sentences that are the same."""
        # A rounding may decide between two words; the rest of the sentence then is another one.
        return CaptionComparison(manifest, limit=_ENCODED_LIMIT, agreement_limit=None)

    def extra_signatures(self, network: Network, manifest: Manifest, *, detect: bool, steps: bool) -> dict[str, Any]:
        """Returns the signatures `encode` and `step`."""
        from cvserve.models.captioning.captions import captions_of

        captions = captions_of(network.model) if steps else None
        return {} if captions is None else step_functions(network, captions)

    def check_signatures(
        self, graph: WrittenGraph, runtime: Runtime, directory: Path, images: ParityImages, comparison: Comparison
    ) -> dict[str, Any]:
        """Compares the sentences that are found with `encode` and `step`."""
        if STEP not in graph.signatures:
            return {}
        manifest = comparison.manifest
        encode, step = (graph.open_signature(signature, runtime) for signature in (ENCODE, STEP))
        decoding = CaptioningPostproc.of(manifest).decoding or Decoding()
        stepwise = StepwiseRuntime(encode, step, manifest, decoding)
        try:
            what = f"the encoder and the step of the exported {graph.target.name} graph"
            parity = check_parity(stepwise, images, comparison, what=what)
        finally:
            stepwise.close()
        files = {name: file_entry(directory, path) for name, path in graph.written.signature_files.items()}
        return {"steps": StepGraphs(encode_file=files.get(ENCODE), step_file=files.get(STEP), parity=parity)}


EXPORT = CaptioningExport()
