"""Finds the models and versions on disk, and notices when the files of a version have changed."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cvserve import artifact as artifacts
from cvserve.artifact.manifest import FILE_NAME
from cvserve.errors import ArtifactError, InvalidInput, NotFound
from cvserve.serving.core.settings import EngineSettings, ModelConfig, ModelSettings
from cvserve.serving.core.version_policy import parse_policy

_LOG = logging.getLogger(__name__)

LARGEST_VERSION = 2**63 - 1
"""The largest version number: messages carry versions as int64."""

SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")


@dataclass(frozen=True)
class ModelVersion:
    """Describes one version on disk.

    Attributes:
        name: the name under which it is served.
        version: its number.
        directory: its directory.
        settings: how it runs; None takes the server's.
        explicitly_requested: whether it is wanted by its number, not as the newest one or because all are wanted.
    """

    name: str
    version: int
    directory: Path
    settings: ModelSettings | None = None
    explicitly_requested: bool = False


class Repository:
    """Lists the models of a directory of models, of one model's directory, or of one version's.

    Which of the three it is is decided once, so that a repository does not become a model later when a model called `2`
    is added.
    """

    def __init__(self, path: str | Path, settings: EngineSettings) -> None:
        """
        Raises:
            NotFound: nothing there, or no model in it.
            ArtifactError: a single version whose manifest cannot be read.
        """
        self.path = path = Path(os.path.abspath(path))
        self._settings = settings
        self._single: str | None = None
        if not path.is_dir():
            raise NotFound(f"no model repository at {path}" + (": it is a file" if path.exists() else ""))
        if is_version(path):
            self._single = name_of(path)
        elif versions_in(path):
            self._single = path.name
        elif not self.names():
            raise NotFound(f"{path} holds no model; a repository looks like {path}/<model name>/<version>/{FILE_NAME}")

    def names(self, known: Collection[str] = ()) -> list[str]:
        """Returns the names of the models that are there now, sorted.

        Args:
            known: models that stay in the list while their directories cannot be read. Other directories that cannot be
                read, such as the `lost+found` of a volume, are skipped.

        Raises:
            OSError: the repository itself cannot be read.
        """
        if self._single is not None:
            return [self._single]
        names = []
        for child in sorted(self.path.iterdir()):
            # A name that is not UTF-8 cannot be written in a request, an answer, a metric or a health status.
            if child.name.startswith(".") or not _is_text(child.name):
                continue
            try:
                there = child.is_dir() and (_has_versions(child) or is_version(child))
            except (PermissionError, ArtifactError):
                there = child.name in known
            if there:
                names.append(child.name)
        return names

    def config(self, name: str) -> ModelConfig:
        """Returns the configuration of a model, which need not have a version yet.

        Raises:
            InvalidInput: a name that leads out of the repository. NotFound: no such model.
        """
        path = self.path
        if self._single is None:
            if name in ("", ".", "..") or "/" in name or os.sep in name or "\0" in name:
                raise InvalidInput(f"{name!r} is not the name of a model")
            path = self.path / name
        if not os.path.isdir(path) or (self._single is not None and name != self._single):
            raise NotFound(f"the repository has no model {name!r}")
        settings = self._settings.of_model(name)
        return ModelConfig(name, path, parse_policy(settings.versions), settings.labels, settings)

    def configs(self, known: Collection[str] = ()) -> list[ModelConfig]:
        """Returns the configurations of the models that are there now. See `names`."""
        return [self.config(name) for name in self.names(known)]


def is_version(directory: Path) -> bool:
    """Returns whether this is a version's directory itself: an artifact, a SavedModel or a TFLite file."""
    return (directory / FILE_NAME).is_file() or (not _has_versions(directory) and _holds_graph(directory))


def _holds_graph(directory: Path) -> bool:
    return any((directory / name).is_file() for name in SAVED_MODEL_FILES) or any(directory.glob("*.tflite"))


def name_of(version_directory: Path) -> str:
    """Returns the model's name, for a version that is served without its model's directory."""
    if (version_directory / FILE_NAME).is_file():
        return artifacts.read(version_directory, verify=False).manifest.name
    return version_directory.parent.name if _number(version_directory.name) is not None else version_directory.name


def versions_in(base_path: Path) -> dict[int, Path]:
    """Returns version numbers and their directories, ascending: every directory whose name is a number, as TensorFlow
    Serving counts ("00000123" is 123), or `base_path` itself where it is a version.

    Raises:
        OSError: it cannot be read. ArtifactError: it is a version whose manifest cannot be read.
    """
    if (base_path / FILE_NAME).is_file():
        return {artifacts.read(base_path, verify=False).manifest.version: base_path}
    versions: dict[int, Path] = {}
    for number, name in sorted(_numbered(base_path)):
        if number in versions:
            _LOG.warning("%s and %s are both version %d; the first one counts", versions[number], name, number)
        else:
            versions[number] = base_path / name
    if not versions and _holds_graph(base_path):
        return {_number(base_path.name) or 1: base_path}
    return versions


def _numbered(base_path: Path) -> Iterator[tuple[int, str]]:
    # This runs every second for every model. scandir knows which children are directories without more system calls.
    with os.scandir(base_path) as children:
        for child in children:
            number = _number(child.name)
            if number is not None and child.is_dir():
                yield number, child.name


def _has_versions(base_path: Path) -> bool:
    return any(True for _ in _numbered(base_path))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(name: str) -> int | None:
    # The length is checked first, since Python refuses to convert thousands of digits.
    if not (name.isascii() and name.isdigit() and len(name) < 40) or int(name) > LARGEST_VERSION:
        return None
    return int(name)


def versions_in_each(paths: Mapping[str, Path]) -> dict[str, dict[int, Path]]:
    """Returns `versions_in` of each path that can be read."""
    readable = {}
    for name, path in paths.items():
        with contextlib.suppress(OSError, ArtifactError):
            readable[name] = versions_in(path)
    return readable


def manifest_before(directory: Path) -> int | None:
    """Returns the newest version that has a manifest, among those older than this directory's version beside it; None
    if there is none."""
    number = _number(directory.name)
    if number is None:
        return None
    older = sorted((other, name) for other, name in _numbered(directory.parent) if other < number)
    return next((other for other, name in reversed(older) if (directory.parent / name / FILE_NAME).is_file()), None)


def completed(directories: Mapping[str, Mapping[int, Path]]) -> dict[str, list[int]]:
    """Returns the versions of each model that had no manifest before and have one now; models without such versions are
    left out."""
    complete = {
        name: [number for number, directory in versions.items() if (directory / FILE_NAME).is_file()]
        for name, versions in directories.items()
    }
    return {name: numbers for name, numbers in complete.items() if numbers}


def find(path: str | Path) -> list[ModelVersion]:
    """Returns the newest version of each model at `path`: a repository, a model's directory, or a version's.

    Raises:
        NotFound: nothing there, or no model in it.
        ArtifactError: a single version whose manifest cannot be read.
    """
    newest = []
    for config in Repository(path, EngineSettings()).configs():
        version, directory = list(versions_in(config.base_path).items())[-1]
        newest.append(ModelVersion(config.name, version, directory))
    return newest


def fingerprint(directory: Path) -> Hashable:
    """Returns a value that changes when a file below `directory` is added, removed or written."""
    files_found: list[tuple[str, int, int, int]] = []
    for folder, _, files in os.walk(directory):
        for name in files:
            path = os.path.join(folder, name)
            try:
                stat = os.stat(path)
            except OSError:
                continue  # removed meanwhile, or a link to nothing: not there, for a reader
            files_found.append((path, stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return tuple(sorted(files_found))


def check_inside(path: Path, roots: Sequence[Path] | None, what: str) -> None:
    """Refuses a path of a request that lies outside all `roots`, also by way of links.

    Args:
        roots: the allowed directories; None allows every path.

    Raises:
        InvalidInput
    """
    if roots is None:
        return
    # os.path.realpath follows links. It accepts missing files and, unlike Path.resolve, links in a circle.
    resolved = Path(os.path.realpath(path))
    if not any(resolved.is_relative_to(os.path.realpath(root)) for root in roots):
        raise InvalidInput(f"{what}: {path} lies outside the model repository; model_roots in the settings allows more")


def readable_versions(config: ModelConfig) -> dict[int, Path]:
    """Returns `versions_in` of the model's directory, for a request that names it.

    Raises:
        NotFound: no directory, or no version in it, in TensorFlow Serving's words.
        ArtifactError: it cannot be read.
    """
    # Not Path.is_dir, which raises where a name is too long; the client would see that as a fault of the server.
    if not os.path.isdir(config.base_path):
        raise NotFound(f"Could not find base path {config.base_path} for servable {config.name}")
    try:
        versions = versions_in(config.base_path)
    except OSError as error:
        raise ArtifactError(f"{config.base_path} cannot be read: {error.strerror or error}") from error
    if not versions:
        raise NotFound(f"No versions of servable {config.name} found under base path {config.base_path}")
    return versions
