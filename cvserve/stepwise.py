"""Captions images with the encoder and the step graph: the search runs here, with one call for each token.

With the same decoding the sentences are those of the one-call graph. It is used for another decoding than that of the
export (a wider beam, a sample with another seed), and for graphs that cannot hold the loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cvserve import artifact as artifacts
from cvserve.artifact import (
    Artifact,
    CaptioningPostproc,
    Decoding,
    Graph,
    Manifest,
    OutputSpec,
    Quantization,
    StepGraphs,
)
from cvserve.artifact.graphs import MEMORY, NEXT, STATE
from cvserve.errors import FailedPrecondition, InvalidInput, NotFound
from cvserve.pipeline import Pipeline
from cvserve.postproc.captioning_search import Arrays, StepOutputs, search
from cvserve.runtimes import FORMAT_OF, Runtime, TensorInfo, open_graph
from cvserve.runtimes.opening import is_installed
from cvserve.runtimes.tensorflow import TensorFlowRuntime

_PREFERRED = ("onnx", "litert", "tensorflow")
"""Runtimes in the order of preference. The step is a small graph that is called often, so the overhead of a call
decides."""


class StepwiseRuntime:
    """Runs encoder and step as one runtime, with the inputs and outputs of the graph that captions in one call.

    steps: the number of calls of the step graph in the last run; it is not thread-safe.
    """

    batch: int | None = None

    def __init__(self, encode: Runtime, step: Runtime, manifest: Manifest, decoding: Decoding) -> None:
        """Makes a runtime from two opened graphs.

        Args:
            encode, step: the opened graphs.
            manifest: its outputs give the number of tokens of a sentence and the grid of the attention.
            decoding: how sentences are searched.
        """
        self._encode, self._step = encode, step
        self._decoding = decoding
        self._outputs = _outputs(manifest, decoding)
        self._count = int(self._outputs["token_ids"].shape[-1] or 0)
        self.name = f"{encode.name}, step by step"
        self.inputs: Mapping[str, TensorInfo] = encode.inputs
        self.outputs: Mapping[str, TensorInfo] = {
            spec.name: TensorInfo(spec.name, spec.dtype, (None, *spec.shape)) for spec in self._outputs.values()
        }
        self.quantization: Mapping[str, Quantization] = {}
        self.steps = 0

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Returns the outputs of the one-call graph, see `Runtime.run`."""
        encoded = self._encode.run(inputs)
        result = search(self._run_step, _of(encoded, MEMORY), _of(encoded, STATE), self._decoding, self._count)
        self.steps = result.steps
        by_role = {"token_ids": result.token_ids, "log_probability": result.log_probability}
        if result.attention is not None:
            by_role["attention"] = result.attention
        answers = {}
        for role, spec in self._outputs.items():
            if role in by_role:
                answers[spec.name] = by_role[role].reshape(-1, *(size or 0 for size in spec.shape))
        return answers if outputs is None else {name: answers[name] for name in outputs}

    def close(self) -> None:
        """Closes both graphs, see `Runtime.close`."""
        self._encode.close()
        self._step.close()

    def _run_step(self, tokens: np.ndarray, position: int, memory: Arrays, state: Arrays) -> StepOutputs:
        feed = {"tokens": tokens, "position": np.full(len(tokens), position, np.int32)}
        feed |= {f"{MEMORY}{name}": value for name, value in memory.items()}
        feed |= {f"{STATE}{name}": value for name, value in state.items()}
        # An export format may leave out inputs on which no output depends.
        after = self._step.run({name: value for name, value in feed.items() if name in self._step.inputs})
        return StepOutputs(after["logits"], _of(after, NEXT), after.get("attention"))


def load_stepwise(
    path: str | Path,
    *,
    version: int | None = None,
    runtime: str = "auto",
    threads: int | None = None,
    decoding: Decoding | None = None,
    device: str = "cpu",
) -> Pipeline:
    """Opens a pipeline that captions step by step.

    Args:
        path, version, threads, device: as in `Pipeline.load`.
        runtime: "tensorflow", "onnx", "litert", or "auto": the first of onnx, litert and tensorflow that can be used.
        decoding: None takes the artifact's own.

    Raises:
        NotFound: the artifact has no such graphs. FailedPrecondition: nothing installed runs them.
        ArtifactError, MissingExtra, InvalidInput
    """
    artifact = artifacts.read(path, version)
    graph = _graph(artifact, runtime)
    assert graph.steps is not None, "only graphs with steps are chosen"
    wanted = decoding or CaptioningPostproc.of(artifact.manifest).decoding or Decoding()
    pair = open_steps(artifact.directory, graph, graph.steps, threads=threads, device=device)
    postproc = artifact.manifest.postproc.model_copy(update={"decoding": wanted})
    outputs = tuple(_outputs(artifact.manifest, wanted).values())
    manifest = artifact.manifest.model_copy(update={"postproc": postproc, "outputs": outputs})
    return Pipeline(replace(artifact, manifest=manifest), StepwiseRuntime(*pair, manifest, wanted))


def open_steps(
    directory: Path, graph: Graph, steps: StepGraphs, *, threads: int | None = None, device: str = "cpu"
) -> tuple[Runtime, Runtime]:
    """Opens the encoder and the step of an artifact's graph."""
    opened: list[Runtime] = []
    for signature, file in ((steps.encode, steps.encode_file), (steps.step, steps.step_file)):
        first = opened[0] if opened else None
        if isinstance(first, TensorFlowRuntime):
            opened.append(first.with_signature(signature))  # without a second copy of the weights
        else:
            path = directory / (graph.path if file is None else file.path)
            opened.append(open_graph(path, graph.format, threads=threads, device=device, signature=signature))
    return opened[0], opened[1]


def _graph(artifact: Artifact, runtime: str) -> Graph:
    if runtime != "auto" and runtime not in FORMAT_OF:
        raise InvalidInput(f"{runtime!r} is not a runtime; it is one of auto, {', '.join(FORMAT_OF)}")
    graphs: dict[str, Graph] = {graph.format: graph for graph in artifact.manifest.graphs if graph.steps is not None}
    names = _PREFERRED if runtime == "auto" else (runtime,)
    having = [name for name in names if FORMAT_OF[name] in graphs]
    if not having:
        has = f"it has them for {', '.join(graphs)}" if graphs else "it has none"
        raise NotFound(f"{artifact.directory} has no encoder and step graphs for the runtime {runtime}; {has}")
    if runtime != "auto":
        return graphs[FORMAT_OF[runtime]]  # if its library is missing, opening it raises the error
    usable = [name for name in having if is_installed(name)]
    if not usable:
        raise FailedPrecondition(
            f"nothing installed can run the steps of {artifact.directory}: pip install 'cvserve[{having[0]}]'"
        )
    return graphs[FORMAT_OF[usable[0]]]


def _outputs(manifest: Manifest, decoding: Decoding) -> dict[str, OutputSpec]:
    """Returns the manifest's outputs by role, shaped for the wanted number of sentences."""
    exported = CaptioningPostproc.of(manifest).decoding or Decoding()
    more = () if decoding.sentences == 1 else (decoding.sentences,)
    return {
        spec.role: spec.model_copy(update={"shape": (*more, *spec.shape[exported.sentences > 1 :])})
        for spec in manifest.outputs
    }


def _of(values: Mapping[str, np.ndarray], prefix: str) -> Arrays:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
