"""Defines manifest.json, which has all facts about an artifact in one versioned schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from cvserve.artifact.base import Spec
from cvserve.artifact.graphs import FileEntry, Graph
from cvserve.artifact.schema1 import upgrade_manifest
from cvserve.artifact.specs import InputSpec, OutputSpec, PreprocSpec
from cvserve.artifact.task_spec import TASK_SPECS, AnyPostproc, Task

SCHEMA_VERSION: Literal[2] = 2
FILE_NAME = "manifest.json"


class Provenance(Spec):
    """Records where the model came from."""

    source: Literal["cvserve", "import"] = "cvserve"
    architecture: str = ""
    dataset: str = ""
    metrics: dict[str, float] = {}
    licence: str = ""
    cvserve_version: str = ""
    created: str = ""
    notes: str = ""


class Manifest(Spec):
    """Holds the whole manifest. labels: in index order."""

    schema_version: Literal[2] = SCHEMA_VERSION
    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}$")
    version: int = Field(ge=1)
    task: Task
    labels: tuple[str, ...] = ()
    preproc: PreprocSpec
    input: InputSpec = InputSpec()
    outputs: tuple[OutputSpec, ...] = Field(min_length=1)
    postproc: AnyPostproc
    graphs: tuple[Graph, ...] = Field(min_length=1)
    extra_files: tuple[FileEntry, ...] = ()
    provenance: Provenance = Provenance()

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """Upgrades schema 1, and fills in a postproc without task, or none where all settings have defaults."""
        if not isinstance(values, Mapping):
            return values
        if values.get("schema_version") == 1:
            values = upgrade_manifest(values)
        postproc = values.get("postproc", {})
        if isinstance(postproc, Mapping) and "task" not in postproc:
            postproc = {"task": values.get("task"), **postproc}
        return {**values, "postproc": postproc}

    @model_validator(mode="after")
    def _check(self) -> Manifest:
        spec = TASK_SPECS[self.task]
        if not isinstance(self.postproc, spec.postproc):
            raise ValueError(f"postproc is of {self.postproc.task}, but the model is of {self.task}")
        for graph in self.graphs:
            for parity in graph.parities:
                if not isinstance(parity, spec.parity):
                    raise ValueError(f"a parity is of {parity.task}, but the model is of {self.task}")
        spec.check(self)
        return self

    def output(self, role: str) -> OutputSpec | None:
        """Returns the output with this role, or None."""
        return next((output for output in self.outputs if output.role == role), None)

    @property
    def has_masks(self) -> bool:
        """Returns whether objects come with masks (instance segmentation)."""
        return self.output("masks") is not None

    @property
    def all_files(self) -> tuple[FileEntry, ...]:
        """Returns every file of the artifact but the manifest, each path once."""
        files = [file for graph in self.graphs for file in graph.files]
        files += [graph.detect.file for graph in self.graphs if graph.detect and graph.detect.file]
        files += [file for graph in self.graphs if graph.steps for file in graph.steps.files]
        return tuple({file.path: file for file in (*files, *self.extra_files)}.values())
