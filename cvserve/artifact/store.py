"""Reads and publishes artifacts as `<repository>/<model name>/<integer version>/`, published completely or not at all.

A version is built in a hidden sibling directory and renamed, so no reader ever sees half a model; TensorFlow
Serving ignores the hidden directory because its name is no integer.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cvserve.artifact.manifest import FILE_NAME, FileEntry, Manifest
from cvserve.errors import ArtifactError, InvalidInput, NotFound

_CHUNK = 1 << 20
_STAGING = ".building-"
_STALE_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class Artifact:
    """Holds a version directory and its manifest. `read` checks the hashes of its files unless `verify` is false."""

    directory: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Returns the model's name."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """Returns the number of the version."""
        return self.manifest.version


def file_entry(root: Path, path: Path) -> FileEntry:
    """Returns the entry of one file of an artifact under `root`: path, size and hash."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(path=path.relative_to(root).as_posix(), bytes=size, sha256=digest.hexdigest())


def versions(model_directory: Path) -> dict[int, Path]:
    """Returns directories by version number, ascending. Names that are not positive integers are skipped."""
    directories: dict[int, Path] = {}
    if model_directory.is_dir():
        for child in sorted(model_directory.iterdir()):
            if child.name.isascii() and child.name.isdigit() and int(child.name) > 0 and child.is_dir():
                directories.setdefault(int(child.name), child)
    return dict(sorted(directories.items()))


def resolve(path: str | Path, version: int | None = None) -> Path:
    """Returns the version directory that `path` stands for: itself, or the newest version of a model's directory.

    Raises:
        NotFound: no such path, or no (such) version under it.
    """
    path = Path(path)
    if not path.exists():
        raise NotFound(f"no model at {path}")
    directories = versions(path)
    if not directories and (path / FILE_NAME).is_file():
        if version is not None and path.resolve().name != str(version):
            raise NotFound(f"{path} is one version of a model; to have version {version}, give the model's directory")
        return path
    if not directories:
        raise NotFound(f"{path} is not a model: it holds neither {FILE_NAME} nor a version directory such as 1/")
    if version is None:
        return directories[max(directories)]
    if version not in directories:
        raise NotFound(f"{path} has no version {version}; it has {', '.join(map(str, directories))}")
    return directories[version]


def read(path: str | Path, version: int | None = None, *, verify: bool = True) -> Artifact:
    """Reads the artifact at `path` (see `resolve`) and checks every file against its hash.

    Raises:
        NotFound: nothing there.
        ArtifactError: the manifest or a file of it is missing, damaged or of an unknown schema, or the
            directory is called by another version number than the manifest's.
    """
    directory = resolve(path, version)
    file = directory / FILE_NAME
    if not file.is_file():
        raise ArtifactError(f"{directory} has no {FILE_NAME}; make one with cvserve import")
    try:
        manifest = Manifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise ArtifactError(f"{file} cannot be used: {where}: {first['msg']}") from error
    number = Path(os.path.abspath(directory)).name
    if number.isascii() and number.isdigit() and int(number) != manifest.version:
        raise ArtifactError(
            f"{directory} holds version {manifest.version}, as its {FILE_NAME} says; call the directory "
            f"{manifest.version}, or publish the model anew to have another version"
        )
    if verify:
        _verify(directory, manifest)
    return Artifact(directory, manifest)


def _verify(directory: Path, manifest: Manifest) -> None:
    for entry in manifest.all_files:
        path = directory / entry.path
        if not path.is_file():
            raise ArtifactError(f"{directory} is incomplete: {entry.path} is missing")
        if not path.resolve().is_relative_to(directory.resolve()):
            raise ArtifactError(f"{directory} is unsafe: {entry.path} leads out of it")
        # The size first: a file that is still being copied is looked at every second, and may be large.
        if path.stat().st_size != entry.bytes or file_entry(directory, path) != entry:
            raise ArtifactError(f"{path} does not match its hash in {FILE_NAME}: the file was changed or damaged")


def publish(model_directory: str | Path, build: Callable[[Path, int], Manifest]) -> Artifact:
    """Makes the next version of a model.

    Args:
        model_directory: `<repository>/<model name>`, made if missing.
        build: called with an empty directory and the version number; writes the model's files there and returns the
            manifest. Whatever it raises leaves nothing behind; what a killed process left is removed after a day.

    Returns:
        The published artifact.
    """
    model_directory = Path(model_directory)
    if model_directory.exists() and not model_directory.is_dir():
        raise InvalidInput(f"{model_directory} is a file; give the directory of a model")
    is_new = not model_directory.exists()
    model_directory.mkdir(parents=True, exist_ok=True)
    _remove_stale_builds(model_directory)
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=model_directory))
    try:
        staging.chmod(0o755)
        version = max(versions(model_directory), default=0) + 1
        manifest = build(staging, version)
        while True:
            manifest = manifest.model_copy(update={"version": version})
            target = model_directory / str(version)
            _write_durably(staging / FILE_NAME, manifest.model_dump_json(indent=2) + "\n")
            try:
                if target.exists():
                    raise FileExistsError(target)
                staging.rename(target)
                return Artifact(target, manifest)
            except OSError:
                if not target.exists():
                    raise
                version = max(versions(model_directory), default=version) + 1
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if is_new:
            with suppress(OSError):  # not empty: another process has published there meanwhile
                model_directory.rmdir()
        raise


def _remove_stale_builds(model_directory: Path) -> None:
    """Removes directories of killed builds: a build takes minutes, so one that is a day old has ended."""
    for path in model_directory.glob(f"{_STAGING}*"):
        with suppress(OSError):  # another publisher has removed it, or published it
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def models(repository: str | Path) -> Iterator[Path]:
    """Yields the model directories of a repository, by name, without hidden ones and those without a version."""
    repository = Path(repository)
    if not repository.is_dir():
        raise NotFound(f"no model repository at {repository}")
    for child in sorted(repository.iterdir()):
        if child.is_dir() and not child.name.startswith(".") and versions(child):
            yield child
