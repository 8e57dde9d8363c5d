"""Defines what decoding needs to know of a model: an artifact's manifest, or the `NetworkContract` of a network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from cvserve.artifact import OutputSpec, PostprocSpec, PreprocSpec, Task


class Contract(Protocol):
    """Lists the fields of `cvserve.artifact.Manifest` that turn outputs into results."""

    @property
    def name(self) -> str:
        """Returns the model's name, for errors."""

    @property
    def task(self) -> Task:
        """Returns the task's name."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Returns the names of the classes, in index order."""

    @property
    def preproc(self) -> PreprocSpec:
        """Returns how images are resized for the graph."""

    @property
    def postproc(self) -> PostprocSpec:
        """Returns how outputs become results."""

    @property
    def outputs(self) -> tuple[OutputSpec, ...]:
        """Returns the outputs of the graph."""

    def output(self, role: str) -> OutputSpec | None:
        """Returns the output with this role, or None."""

    @property
    def has_masks(self) -> bool:
        """Returns whether objects come with masks (instance segmentation)."""


@dataclass(frozen=True)
class NetworkContract:
    """Holds the contract of a network without an artifact. Its outputs are float32 and called by their roles."""

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
