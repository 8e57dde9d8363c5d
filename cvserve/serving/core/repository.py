"""What a path on disk holds: a repository of models, one model, or one version of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cvserve import artifact as artifacts
from cvserve.artifact.manifest import FILE_NAME
from cvserve.errors import NotFound


@dataclass(frozen=True)
class ModelVersion:
    """One version on disk, and the name under which it is served."""

    name: str
    version: int
    directory: Path


def find(path: str | Path) -> list[ModelVersion]:
    """The newest version of each model at `path`.

    Args:
        path: a repository `<model>/<version>/`, a model's directory `<version>/`, or a version's, with its manifest.

    Raises:
        NotFound: nothing there, or no model in it.
        ArtifactError: a single version whose manifest cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise NotFound(f"no model repository at {path}" + (": it is a file" if path.exists() else ""))
    if (path / FILE_NAME).is_file():
        manifest = artifacts.read(path, verify=False).manifest
        return [ModelVersion(manifest.name, manifest.version, path)]
    if artifacts.versions(path):
        return [_newest(path)]
    found = [_newest(model) for model in artifacts.models(path)]
    if not found:
        raise NotFound(f"{path} holds no model; a repository looks like {path}/<model name>/<version>/{FILE_NAME}")
    return found


def _newest(model_directory: Path) -> ModelVersion:
    version, directory = list(artifacts.versions(model_directory).items())[-1]
    return ModelVersion(model_directory.resolve().name, version, directory)
