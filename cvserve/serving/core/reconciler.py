"""One model: which of its versions are wanted, how they fared, and what is done to have them served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cvserve.errors import CvserveError
from cvserve.serving.core.manager import Manager, State, VersionStatus
from cvserve.serving.core.model_config import ModelConfig
from cvserve.serving.core.repository import ModelVersion, fingerprint, versions_in
from cvserve.serving.core.settings import EngineSettings
from cvserve.serving.core.tasks import Tasks, in_thread
from cvserve.serving.core.version_policy import Failure, Known, Specific, aspired, may_retry, plan, stand_ins

_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class Surroundings:
    """What the models of a server share.

    clock: seconds. loading: held while a model is loaded, since loading uses all cores. closed: nothing begins any
    more. complaints: what was said last about a model's disk.
    """

    manager: Manager
    settings: EngineSettings
    clock: Callable[[], float]
    tasks: Tasks = field(default_factory=Tasks)
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    closed: bool = False
    complaints: dict[str, str] = field(default_factory=dict)

    def complain(self, about: str, text: str) -> None:
        """Once, not at every look."""
        if self.complaints.get(about) != text:
            self.complaints[about] = text
            _LOG.error("%s", text)


class KeptModel:
    """A model that is to be served, or to be no longer served.

    pinned: loaded on request, whatever the policy says. held: unloaded on request, until they are asked for again.
    stopped: unloaded on request as a whole. left: nobody lists it any more. stale: loaded from files or with settings
    that are no longer the right ones. errors: why a version could not be loaded when it was last tried.
    """

    def __init__(self, config: ModelConfig, shared: Surroundings) -> None:
        self.config = config
        self.pinned: set[int] = set()
        self.held: set[int] = set()
        self.stopped = False
        self.left = False
        self.stale: set[int] = set()
        self.errors: dict[int, CvserveError] = {}
        self._failures: dict[int, Failure] = {}
        self._shared = shared
        self._manager = shared.manager
        self._busy = asyncio.Lock()

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def is_busy(self) -> bool:
        """Whether it is being changed now."""
        return self._busy.locked()

    @property
    def statuses(self) -> list[VersionStatus]:
        """Of all its versions, ascending."""
        return [status for status in self._manager.all_status() if status.name == self.name]

    def wanted(self, on_disk: Mapping[int, Path]) -> list[int]:
        """The versions to serve, ascending."""
        if self.left:
            return []
        usable = [version for version in on_disk if version not in self.held]
        chosen = [] if self.stopped else aspired(self.config.policy, usable)
        return sorted({*chosen, *(self.pinned & set(usable))})

    def is_due(self, found: Mapping[int, Path] | None) -> bool:
        """Whether there may be something to do: nearly always there is not.

        Args:
            found: the versions on disk; None where it could not be read.
        """
        if found is None or self.left or self.stale or self._failures:
            return True
        return self.wanted(found) != self._manager.available(self.name)

    def follow_policy(self) -> None:
        """Forgets what was asked for by hand, and what failed."""
        self.pinned.clear()
        self.held.clear()
        self.stopped = False
        self._failures.clear()
        self.errors.clear()

    def pin(self, version: int) -> None:
        """Has a version served whatever the policy says."""
        self.pinned.add(version)
        self.held.discard(version)
        self._failures.pop(version, None)

    def hold(self, version: int) -> None:
        """Has a version not served."""
        self.held.add(version)
        self.pinned.discard(version)

    def configure(self, config: ModelConfig) -> None:
        """Takes over another configuration; versions that it would have loaded differently are stale."""
        if (self.config.base_path, _how(self.config)) != (config.base_path, _how(config)):
            self.stale = set(self._manager.available(self.name))
        self.config, self.left = config, False
        self.follow_policy()

    def announce(self, found: Mapping[int, Path]) -> None:
        """Makes the wanted versions known before they are loaded, so that requests are told to wait."""
        for version in self.wanted(found):
            self._manager.announce(self._source(version, found[version]))

    async def settle(self) -> None:
        """Brings the versions that are served to those that are wanted, one change at a time; returns when those that
        go have been let go of. What cannot be loaded is in its status, and is due again."""
        async with self._busy:
            leaving = await self._change()
        if leaving:
            # Not with the lock held: a request may take its time with the old version.
            await asyncio.wait(leaving)

    async def _change(self) -> list[asyncio.Future[None]]:
        path = self.config.base_path
        found: dict[int, Path] = {}
        if not self.left:
            try:
                found = await in_thread(partial(versions_in, path))
            except (OSError, CvserveError) as error:
                text = f"model {self.name!r} stays as it is, since {path} cannot be read: {error}"
                self._shared.complain(self.name, text)
                return []
            self._shared.complaints.pop(self.name, None)
        wanted = self.wanted(found)
        step = plan(wanted, await self._known(found))
        for version in step.load:
            self._manager.announce(self._source(version, found[version]))
        for version in step.load:
            if not self._shared.closed and version in self.wanted(found):
                await self._try(version, found[version])
        await self._stand_in(found)
        leaving: list[asyncio.Future[None]] = []
        served = {*wanted, *self._manager.available(self.name)}
        for version in sorted(self.stale & served & found.keys(), reverse=True):
            if not self._shared.closed and await self._is_time(version, found[version]):
                leaving += await self._renew(version, found[version])
        return leaving + self._let_go(found)

    async def _stand_in(self, found: Mapping[int, Path]) -> None:
        """Loads an older version where nothing answers, though something is wanted."""
        wanted = self.wanted(found)
        if not wanted or self.stopped:
            return
        for version in stand_ins(self.config.policy, found.keys() - self.held, wanted):
            if self._shared.closed or self._manager.available(self.name):
                return
            if await self._is_time(version, found[version]):
                _LOG.warning(
                    "model %s: version %d stands in for %s, which cannot be loaded", self.name, version, wanted
                )
                await self._try(version, found[version])

    def _let_go(self, found: Mapping[int, Path]) -> list[asyncio.Future[None]]:
        """The versions that may go now. Planned anew, since a request may have changed what is wanted while something
        was loaded."""
        wanted = self.wanted(found)
        known = {version: Known() for version in wanted}
        known |= {version: Known(available=True) for version in self._manager.available(self.name)}
        leaving = []
        for version in plan(wanted, known).unload:
            self.stale.discard(version)
            leaving.append(self._shared.tasks.keep(self._manager.retire(self.name, version)))
        served = not wanted or not set(wanted).isdisjoint(self._manager.available(self.name))
        for status in self.statuses:
            # What failed is remembered as long as it might be tried again.
            over = served or status.version not in found
            if over and status.version not in wanted and status.state is not State.UNLOADING:
                self._failures.pop(status.version, None)
                if status.error is not None or status.state is State.START:
                    self._manager.forget(self.name, status.version)
        return leaving

    async def _known(self, found: Mapping[int, Path]) -> dict[int, Known]:
        known = {version: Known(available=True) for version in self._manager.available(self.name)}
        for version in list(self._failures):
            if version not in known and version in found:
                known[version] = Known(may_retry=await self._is_time(version, found[version]))
        return known

    async def _is_time(self, version: int, directory: Path) -> bool:
        failure = self._failures.get(version)
        if failure is None:
            return True
        files = await in_thread(partial(fingerprint, directory))
        every, retries = self._shared.settings.load_retry_seconds, self._shared.settings.max_load_retries
        return may_retry(failure, files, self._shared.clock(), every=every, retries=retries)

    async def _try(self, version: int, directory: Path) -> None:
        async with self._shared.loading:
            # Before it is read, so that a file that comes meanwhile counts as a change.
            files = await in_thread(partial(fingerprint, directory))
            status = await self._manager.load(self._source(version, directory))
        if status.state is State.AVAILABLE:
            self._succeeded(version)
        else:
            self._failed(version, files, status.error)

    async def _renew(self, version: int, directory: Path) -> list[asyncio.Future[None]]:
        async with self._shared.loading:
            files = await in_thread(partial(fingerprint, directory))
            try:
                leaving = await self._manager.replace(self._source(version, directory))
            except CvserveError as error:
                _LOG.error("model %s version %d stays as it was: %s", self.name, version, error)
                self._failed(version, files, error)
                return []
        self.stale.discard(version)
        self._succeeded(version)
        return [self._shared.tasks.keep(leaving)]

    def _succeeded(self, version: int) -> None:
        self._failures.pop(version, None)
        self.errors.pop(version, None)

    def _failed(self, version: int, files: Hashable, error: CvserveError | None) -> None:
        if error is not None:
            self.errors[version] = error
        last = self._failures.get(version)
        tries = last.tries + 1 if last is not None and last.files == files else 1
        self._failures[version] = Failure(tries, self._shared.clock(), files)

    def _source(self, version: int, directory: Path) -> ModelVersion:
        policy = self.config.policy
        named = version in self.pinned or (isinstance(policy, Specific) and version in policy.versions)
        # A version that was given as such is wanted, too.
        named |= directory == self.config.base_path
        return ModelVersion(self.name, version, directory, self.config.settings, named)


def _how(config: ModelConfig) -> dict[str, object]:
    """The settings that a loaded version depends on."""
    return config.settings.model_dump(exclude={"versions", "labels"})
