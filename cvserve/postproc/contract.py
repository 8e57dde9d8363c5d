"""What decoding needs to know of a model: of an artifact its manifest, of any other network a `NetworkContract`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from cvserve.artifact import OutputSpec, PostprocSpec, PreprocSpec, Task


class Contract(Protocol):
    """The part of `cvserve.artifact.Manifest` that turns outputs into results."""

    @property
    def name(self) -> str:
        """The model's name, for errors."""

    @property
    def task(self) -> Task:
        """The task."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in index order."""

    @property
    def preproc(self) -> PreprocSpec:
        """How images are resized for the graph."""

    @property
    def postproc(self) -> PostprocSpec:
        """How outputs become results."""

    @property
    def outputs(self) -> tuple[OutputSpec, ...]:
        """The outputs of the graph."""

    def output(self, role: str) -> OutputSpec | None:
        """Returns the output with this role, or None."""

    @property
    def has_masks(self) -> bool:
        """Returns whether objects come with masks (instance segmentation)."""


@dataclass(frozen=True)
class NetworkContract:
    """The contract of a network without an artifact. Its outputs are float32 and called by their roles."""

    name: str
    task: Task
    labels: tuple[str, ...]
    preproc: PreprocSpec
    postproc: PostprocSpec
    outputs: tuple[OutputSpec, ...]

    @classmethod
    def of(
        cls,
        name: str,
        task: Task,
        labels: tuple[str, ...],
        preproc: PreprocSpec,
        postproc: PostprocSpec,
        roles: Iterable[str],
    ) -> NetworkContract:
        """Makes the contract of a network whose outputs are called by their roles."""
        return cls(name, task, labels, preproc, postproc, tuple(OutputSpec(name=role, role=role) for role in roles))

    def output(self, role: str) -> OutputSpec | None:
        """Returns the output with this role, or None."""
        return next((output for output in self.outputs if output.role == role), None)

    @property
    def has_masks(self) -> bool:
        """Returns whether objects come with masks (instance segmentation)."""
        return self.output("masks") is not None
