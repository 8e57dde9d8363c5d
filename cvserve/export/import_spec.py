"""Reads the spec of an imported model: what its file does not contain.

Its keys are those of the manifest (InputSpec, PreprocSpec, OutputSpec); what the file contains can be left out.

    task: classification
    labels: labels.txt
    preproc: {resize: short_side, short_side: 256}
    input: {scale: 1/255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, field_validator

from cvserve.artifact import PreprocSpec, Quantization
from cvserve.artifact.base import Spec
from cvserve.artifact.task_spec import TASK_SPECS
from cvserve.errors import InvalidInput, NotFound
from cvserve.settings import parse, read_yaml

Triple = tuple[float, float, float]


class InputSettings(Spec):
    """Describes how uint8 RGB pixels become the model's input: (pixel * scale - mean) / std.

    name: needed if there are several. layout: by default as the shape says. scale: a number or a fraction such as
    "1/255". dtype: only to insist on one. quantization: of an integer input, where the file does not hold it.
    """

    name: str | None = None
    layout: Literal["NHWC", "NCHW"] | None = None
    channels: Literal["RGB", "BGR"] = "RGB"
    scale: float | None = Field(default=None, gt=0)
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    dtype: Literal["uint8", "int8", "float32", "float16"] | None = None
    quantization: Quantization | None = None

    @field_validator("scale", mode="before")
    @classmethod
    def _fraction(cls, value: Any) -> Any:
        match = re.fullmatch(r"\s*([\d.]+)\s*/\s*([\d.]+)\s*", value) if isinstance(value, str) else None
        if match is None or not float(match[2]):
            return value
        return float(match[1]) / float(match[2])

    @field_validator("std")
    @classmethod
    def _not_zero(cls, value: Triple) -> Triple:
        if any(part <= 0 for part in value):
            raise ValueError("every value must be above 0")
        return value


class PreprocSettings(Spec):
    """Describes the geometry, as in PreprocSpec; height and width by default as in the file."""

    height: int | None = Field(default=None, gt=0)
    width: int | None = Field(default=None, gt=0)
    resize: Literal["exact", "short_side", "letterbox"] = "short_side"
    short_side: int | None = Field(default=None, gt=0)
    interpolation: Literal["linear", "cubic", "nearest"] = "linear"
    fill: tuple[int, int, int] = (114, 114, 114)

    def sized(self, height: int, width: int) -> PreprocSpec:
        """Returns the PreprocSpec for images of height x width pixels."""
        return parse(PreprocSpec, {**self.model_dump(), "height": height, "width": width}, "preproc")


class OutputSettings(Spec):
    """Describes the model's output.

    name: needed if there are several outputs. role: by default as an answer shows it. activation: of logits;
    "sigmoid" where classes do not exclude each other. quantization: where the file does not hold it.
    """

    name: str | None = None
    role: Literal["logits", "probabilities"] | None = None
    activation: Literal["softmax", "sigmoid"] = "softmax"
    quantization: Quantization | None = None


class ImportSpec(Spec):
    """Holds the whole spec.

    labels: a list, or the path of a text file with one label a line, relative to the spec (or, if it is not there, to
    the model). signature: of a SavedModel or TFLite file.
    """

    task: Literal["classification"]
    labels: str | tuple[str, ...]
    name: str | None = None
    input: InputSettings = InputSettings()
    preproc: PreprocSettings = PreprocSettings()
    output: OutputSettings = OutputSettings()
    signature: str | None = None
    top_k: int = Field(default=5, gt=0)
    architecture: str = ""
    dataset: str = ""
    licence: str = ""
    notes: str = ""

    @field_validator("task", mode="before")
    @classmethod
    def _task(cls, value: Any) -> Any:
        if value in TASK_SPECS and value not in get_args(cls.model_fields["task"].annotation):
            raise ValueError(
                f"only classifiers can be imported; to serve another model for {value} as it is, put its "
                "SavedModel or TFLite file into the repository and ask it with Predict"
            )
        return value


def read_spec(source: str | Path | dict[str, Any] | ImportSpec) -> tuple[ImportSpec, Path | None]:
    """Reads a spec; returns it with the folder that its paths are relative to, None where there is no file.

    Raises:
        NotFound: no such file.
        InvalidInput: not YAML, an unknown key (the text names the nearest), or a value that cannot be used.
    """
    if isinstance(source, ImportSpec):
        return source, None
    if isinstance(source, dict):
        return parse(ImportSpec, source, "the spec"), None
    path = Path(source)
    return parse(ImportSpec, read_yaml(path), str(path)), path.parent


def read_labels(labels: str | tuple[str, ...], folders: list[Path]) -> tuple[str, ...]:
    """Returns the labels in index order.

    Args:
        labels: the labels, or the path of a file with one a line; where all lines begin with a WordNet number, as in
            "n01440764 tench", it is cut off.
        folders: where a relative path is looked for, in order.

    Raises:
        NotFound: no such file.
        InvalidInput: no labels, or an empty line between them.
    """
    if not isinstance(labels, str):
        if not labels:
            raise InvalidInput("labels: the list is empty")
        return labels
    candidates = [folder / labels for folder in folders]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        raise NotFound(f"labels: no file at {' or '.join(map(str, dict.fromkeys(candidates)))}")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise InvalidInput(f"labels: {path} is not UTF-8 text") from error
    if not lines:
        raise InvalidInput(f"labels: {path} is empty")
    if "" in lines:
        raise InvalidInput(f"labels: line {lines.index('') + 1} of {path} is empty, so the classes would be miscounted")
    if all(re.match(r"n\d{8}\s+\S", line) for line in lines):
        lines = [line.split(maxsplit=1)[1] for line in lines]
    return tuple(lines)
