"""The versions of one model that are wanted: its configuration, what requests changed, and what failed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cvserve.errors import CvserveError
from cvserve.serving.core.repository import ModelVersion
from cvserve.serving.core.settings import ModelConfig
from cvserve.serving.core.version_policy import Failure, Specific, aspired


@dataclass(eq=False)
class DesiredModel:
    """Holds the wanted state of a model: which versions are to be served.

    Attributes:
        config: its configuration, as it was listed.
        pinned: versions loaded on request, whatever the policy says.
        excluded: versions unloaded on request, until they are requested again.
        unloaded: whether the whole model was unloaded on request.
        delisted: whether no list or repository has it any more.
        stale: versions loaded from files or with settings that are no longer the right ones.
        errors: why a version could not be loaded when it was last tried.
        failures: the failed attempts, for deciding when to try again.
        busy: locked while the model is being changed.
    """

    config: ModelConfig
    pinned: set[int] = field(default_factory=set)
    excluded: set[int] = field(default_factory=set)
    unloaded: bool = False
    delisted: bool = False
    stale: set[int] = field(default_factory=set)
    errors: dict[int, CvserveError] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def name(self) -> str:
        """The name that requests use."""
        return self.config.name

    def versions(self, on_disk: Collection[int]) -> list[int]:
        """Returns the versions to serve, ascending, of those that are on disk."""
        if self.delisted:
            return []
        usable = [version for version in on_disk if version not in self.excluded]
        chosen = [] if self.unloaded else aspired(self.config.policy, usable)
        return sorted({*chosen, *(self.pinned & set(usable))})

    def may_need_work(self, on_disk: Mapping[int, Path] | None, available: list[int]) -> bool:
        """Returns whether there may be something to do, which is rare.

        Args:
            on_disk: None where it could not be read.
            available: the versions that answer, ascending.
        """
        if on_disk is None or self.delisted or self.stale or self.failures:
            return True
        return self.versions(on_disk) != available

    def follow_policy(self) -> None:
        """Forgets what was requested by hand, and what failed."""
        self.pinned.clear()
        self.excluded.clear()
        self.unloaded = False
        self.failures.clear()
        self.errors.clear()

    def pin(self, version: int) -> None:
        """Marks a version to be served, whatever the policy says."""
        self.pinned.add(version)
        self.excluded.discard(version)
        self.failures.pop(version, None)

    def exclude(self, version: int) -> None:
        """Marks a version not to be served."""
        self.excluded.add(version)
        self.pinned.discard(version)

    def configure(self, config: ModelConfig, available: Collection[int]) -> None:
        """Sets another configuration. Available versions that it would have loaded differently become stale."""
        if (self.config.base_path, _how(self.config)) != (config.base_path, _how(config)):
            self.stale = set(available)
        self.config, self.delisted = config, False
        self.follow_policy()

    def source(self, version: int, directory: Path) -> ModelVersion:
        """Returns where a version is loaded from, and with which settings."""
        policy = self.config.policy
        explicit = version in self.pinned or (isinstance(policy, Specific) and version in policy.versions)
        # If the directory of a single version was listed, that version is explicitly requested too.
        explicit |= directory == self.config.base_path
        return ModelVersion(self.name, version, directory, self.config.settings, explicit)

    def succeeded(self, version: int) -> None:
        """Records that a version was loaded."""
        self.failures.pop(version, None)
        self.errors.pop(version, None)

    def failed(self, version: int, files: Hashable, error: CvserveError | None, now: float) -> None:
        """Records that a version could not be loaded from these files (see `repository.fingerprint`)."""
        if error is not None:
            self.errors[version] = error
        last = self.failures.get(version)
        tries = last.tries + 1 if last is not None and last.files == files else 1
        self.failures[version] = Failure(tries, now, files)


def _how(config: ModelConfig) -> dict[str, object]:
    """Returns the settings that a loaded version depends on."""
    return config.settings.model_dump(exclude={"versions", "labels"})
