"""Describes the graphs of a model: files, signatures, and how close their answers are to the network's."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from cvserve.artifact.base import Spec
from cvserve.artifact.task_spec import AnyParity, Parity

GraphFormat = Literal["saved_model", "onnx", "tflite"]
Precision = Literal["float32", "float16", "int8"]


class FileEntry(Spec):
    """Describes a file of the artifact: its path below the version directory (POSIX form), its size and its hash."""

    path: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path:
            raise ValueError(f"{path!r} would leave the model's directory")
        return path


class EncodedInput(Spec):
    """Describes a second signature of a SavedModel, which decodes and resizes encoded images in the graph.

    input: its tensor, strings [B]. parity: its answers against those of the same graph behind `preproc` (OpenCV).
    pixels_max_difference, pixels_mean_difference: between the two sets of network inputs, 0 to 255.
    """

    signature: str = "bytes"
    input: str = "image_bytes"
    parity: AnyParity
    pixels_max_difference: float = Field(ge=0)
    pixels_mean_difference: float = Field(ge=0)


class DetectSignature(Spec):
    """Describes a second signature of a detection graph, which decodes and suppresses boxes itself, for other clients.

    file: where it is, for a format that holds one graph a file; None: in the graph's own file. signature: its name
    there. parity: its answers against `postproc` behind the network.
    """

    file: FileEntry | None = None
    signature: str = "detect"
    parity: AnyParity


MEMORY, STATE, NEXT = "memory_", "state_", "next_"
"""How the names of tensors begin in the signatures of `StepGraphs`."""


class StepGraphs(Spec):
    """Describes the encoder and the step of a captioning graph, with which sentences are searched outside of it.

    encode: the signature from the graph's own input to the tensors of the images, `memory_*` [B, ...], and the state
    before the first token, `state_*` [B, ...]. step: the signature from `tokens` int32 [B] (1, <start>, at first),
    `position` int32 [B] (0 at first, and the same for all), `memory_*` and `state_*` to `logits` float32 [B, V] of the
    token that follows, the state after it, `next_*`, and `attention` float32 [B, L] where there is one. A format may
    leave out inputs that change nothing. encode_file, step_file: where they are, for a format that holds one graph
    a file; None: in the graph's own file. parity: of the sentences found with them.
    """

    encode: str = "encode"
    step: str = "step"
    encode_file: FileEntry | None = None
    step_file: FileEntry | None = None
    parity: AnyParity

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Returns the files of its own, none where both are in the graph's file."""
        return tuple(file for file in (self.encode_file, self.step_file) if file is not None)


class Graph(Spec):
    """Describes one executable form of the model.

    files: the first is the one that a runtime opens. batch: None takes any batch size, a number takes just that.
    signature: of a SavedModel or a TFLite file. parity: None for a graph that was imported as it is, since there is
    nothing to compare it with. latency_ms: batch size to median milliseconds a call, where it was built.
    """

    format: GraphFormat
    precision: Precision = "float32"
    files: tuple[FileEntry, ...] = Field(min_length=1)
    batch: int | None = None
    signature: str = "serving_default"
    parity: AnyParity | None = None
    encoded: EncodedInput | None = None
    detect: DetectSignature | None = None
    steps: StepGraphs | None = None
    latency_ms: dict[str, float] = {}

    @property
    def path(self) -> str:
        """Returns the path of the file that a runtime opens."""
        return self.files[0].path

    @property
    def bytes(self) -> int:
        """Returns the size of all its files together."""
        return sum(file.bytes for file in self.files)

    @property
    def parities(self) -> tuple[Parity, ...]:
        """Returns the parity of the graph and of each of its extra signatures, as far as there are any."""
        extra = (self.encoded, self.detect, self.steps)
        parities = [self.parity, *(signature.parity for signature in extra if signature is not None)]
        return tuple(parity for parity in parities if parity is not None)

    @property
    def usable(self) -> bool:
        """Returns whether `auto` may choose it: its parity holds, or there is none."""
        return self.parity is None or self.parity.holds
