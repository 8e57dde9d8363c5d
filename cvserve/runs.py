"""Reads and writes the run directory, which training makes and evaluation and export read.

    config.yaml     the settings of the training
    run.json        task, architecture, labels, preprocessing, dataset
    model.keras     the best network so far, float32, without compile state
    metrics.json    its scores
    history.json    one row for each epoch; curves.png draws it; logs/ holds the same for TensorBoard
    checkpoints/    the full state of the training after the last epochs, for --resume

Reading one needs no TensorFlow; `Run.load_model` does.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

from pydantic import model_validator

from cvserve.artifact import AnyPostproc, PostprocSpec, PreprocSpec, Spec, Task
from cvserve.artifact.schema1 import upgrade_postproc
from cvserve.errors import ArtifactError, NotFound

if TYPE_CHECKING:
    import keras

RUN_FILE = "run.json"
MODEL_FILE = "model.keras"
METRICS_FILE = "metrics.json"
HISTORY_FILE = "history.json"
CONFIG_FILE = "config.yaml"


class RunDescription(Spec):
    """Holds run.json, which describes a run.

    data: the data set in the settings, which evaluation and export open again. postproc: how the network's outputs
    become results; None where the defaults of the task are right.
    """

    schema_version: Literal[1] = 1
    task: Task
    architecture: str
    model_options: dict[str, Any] = {}
    labels: tuple[str, ...]
    preproc: PreprocSpec
    postproc: AnyPostproc | None = None
    data: str
    dataset: str = ""
    cvserve_version: str = ""

    @model_validator(mode="before")
    @classmethod
    def _name_the_task(cls, values: Any) -> Any:
        """Reads a postproc that was written before it named its task."""
        if not isinstance(values, dict) or not isinstance(values.get("postproc"), dict):
            return values
        if "task" in values["postproc"]:
            return values
        return {**values, "postproc": upgrade_postproc(values["postproc"], str(values.get("task")))}


@dataclass(frozen=True)
class Run:
    """Holds what was read from a run directory. metrics: of its network, on the validation split."""

    directory: Path
    description: RunDescription
    metrics: dict[str, float]

    @property
    def task(self) -> Task:
        """Returns the task of the network."""
        return self.description.task

    @property
    def architecture(self) -> str:
        """Returns the name of the network in `cvserve.models`."""
        return self.description.architecture

    @property
    def labels(self) -> tuple[str, ...]:
        """Returns the names of the classes."""
        return self.description.labels

    @property
    def preproc(self) -> PreprocSpec:
        """Returns how images are prepared for the network."""
        return self.description.preproc

    @property
    def postproc(self) -> PostprocSpec | None:
        """Returns how the network's outputs become results; None for the defaults of the task."""
        return self.description.postproc

    @property
    def dataset(self) -> str:
        """Returns the data set that was trained on, in words."""
        return self.description.dataset

    @property
    def data_path(self) -> str:
        """Returns the data set that was trained on, as in the settings."""
        return self.description.data

    def load_model(self) -> keras.Model:
        """Loads the network, float32, not compiled.

        Raises:
            NotFound: no epoch has been finished yet. ArtifactError: Keras cannot load the file.
        """
        path = self.directory / MODEL_FILE
        if not path.is_file():
            raise NotFound(f"{self.directory} holds no {MODEL_FILE} yet: its training has not finished an epoch")
        import keras

        from cvserve.models import load_networks

        load_networks(self.task)  # Keras finds the layers of a network only when their modules have been imported
        try:
            return keras.models.load_model(path, compile=False)
        except (ValueError, TypeError, OSError, KeyError, BadZipFile) as error:
            reason = " ".join(str(error).split())[:300]
            raise ArtifactError(f"{path} is damaged, Keras cannot load it: {reason}") from error


def is_run(path: str | Path) -> bool:
    """Returns whether `path` is a run directory."""
    return (Path(path) / RUN_FILE).is_file()


def load_run(path: str | Path) -> Run:
    """Reads a run directory.

    Raises:
        NotFound: there is no run directory. ArtifactError: its files are damaged.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise NotFound(f"no run directory at {directory}")
    if not is_run(directory):
        raise NotFound(f"{directory} is not a run directory: it has no {RUN_FILE}; cvserve train makes one")
    try:
        description = RunDescription.model_validate_json((directory / RUN_FILE).read_bytes())
        metrics_file = directory / METRICS_FILE
        metrics = json.loads(metrics_file.read_text(encoding="utf-8")) if metrics_file.is_file() else {}
    except ValueError as error:  # of pydantic, of JSON, or of UTF-8
        raise ArtifactError(f"{directory} is damaged: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(metrics, dict):
        raise ArtifactError(f"{directory} is damaged: {METRICS_FILE} holds no scores by name")
    numbers = {key: float(value) for key, value in metrics.items() if isinstance(value, int | float)}
    return Run(directory, description, numbers)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON in one step: a reader sees the old file or the new one, never half of it, also after a crash."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text in one step, as `write_json` does."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
