"""The versions of the models: which are loaded, in what state, and how many requests use them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path

from cvserve.errors import ArtifactError, CvserveError, DeviceLost, NotFound, Unavailable
from cvserve.serving.core.memory import give_back
from cvserve.serving.core.repository import ModelVersion
from cvserve.serving.core.servable import Servable

_LOG = logging.getLogger(__name__)

Loader = Callable[[ModelVersion], Awaitable[Servable]]

REMEMBERED = 8
"""Number of ended versions of a model that stay listed in its status: a server may load thousands over time."""

RECOVERED_SECONDS = 10.0
"""A device that failed counts as lost until a call succeeds this many seconds after the last failure: if one of a
model's two devices is lost, every other call still succeeds."""


class State(IntEnum):
    """Lists the states of a version, with the numbers of TensorFlow Serving's ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """Describes the state of a version.

    Attributes:
        name, version: the version.
        state: its state.
        error: why it could not be loaded when it was last tried, None if nothing went wrong.
        lost: why the last call of an available version failed, where its device did.
    """

    name: str
    version: int
    state: State
    error: CvserveError | None = None
    lost: DeviceLost | None = None


@dataclass(eq=False)
class _Version:
    source: ModelVersion
    state: State = State.START
    error: CvserveError | None = None
    servable: Servable | None = None
    users: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)
    lost: DeviceLost | None = None
    lost_at: float = 0.0

    @property
    def status(self) -> VersionStatus:
        # A version that has been unloaded uses no device, so it must not count as lost.
        lost = self.lost if self.state is State.AVAILABLE else None
        return VersionStatus(self.source.name, self.source.version, self.state, self.error, lost)


class Handle:
    """Keeps a version loaded while it is used: `with handle as servable`. It is a class since every request takes one
    and a generator would cost more."""

    __slots__ = ("_notify", "_version")

    def __init__(self, version: _Version, notify: Callable[[_Version], None]) -> None:
        self._version, self._notify = version, notify

    def __enter__(self) -> Servable:
        version = self._version
        assert version.servable is not None, "an available version has its servable"
        version.users += 1
        return version.servable

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        version = self._version
        version.users -= 1
        if not version.users:
            version.unused.set()
        if isinstance(error, DeviceLost):
            version.lost_at = time.monotonic()
            if version.lost is None:
                # Without the traceback, which would keep the frames of the request in memory.
                version.lost = DeviceLost(str(error))
                self._notify(version)
        elif version.lost is not None and error is None and time.monotonic() - version.lost_at > RECOVERED_SECONDS:
            version.lost = None
            self._notify(version)


class Manager:
    """Loads and unloads versions, and gives requests access to them. Used from the loop's thread only.

    A handle (`acquire`) keeps its version loaded: unloading waits until the last handle is released, while new requests
    no longer get the version.
    """

    def __init__(self, loader: Loader, on_change: Callable[[VersionStatus], None] = lambda status: None) -> None:
        """
        Args:
            loader: opens and warms a version; what it raises becomes the version's status.
            on_change: called at every change of state.
        """
        self._loader = loader
        self._on_change = on_change
        self._models: dict[str, dict[int, _Version]] = {}

    def announce(self, source: ModelVersion) -> None:
        """Adds a version before it is loaded, so that requests are refused with "still loading" meanwhile."""
        known = self._models.get(source.name, {}).get(source.version)
        if known is None or known.state in (State.END, State.UNLOADING):
            # An earlier version of this number that is being unloaded finishes on its own.
            version = _Version(source, error=known.error if known else None)
            self._models.setdefault(source.name, {})[source.version] = version
            self._notify(version)

    async def load(self, source: ModelVersion) -> VersionStatus:
        """Loads a version. If that fails, its state becomes END with the error in its status; other versions go on."""
        self.announce(source)
        version = self._models[source.name][source.version]
        if version.state is not State.START:
            return version.status
        version.source = source
        self._move(version, State.LOADING)
        try:
            version.servable = await self._open(source)
        except CvserveError as error:
            version.error = error
            self._move(version, State.END)
        except asyncio.CancelledError:
            self._move(version, State.END)
            raise
        else:
            version.error = None
            self._move(version, State.AVAILABLE)
        return version.status

    async def replace(self, source: ModelVersion) -> asyncio.Future[None]:
        """Loads an available version again, from `source`; the old one answers until the new one can.

        Returns:
            A future that is done when the requests on the old one are answered and its memory is freed.

        Raises:
            CvserveError: it cannot be loaded; the old one goes on.
        """
        if source.version in self.without_manifest(source.name):
            # It has been accepted as it is before.
            source = replace(source, explicitly_requested=True)
        servable = await self._open(source)
        versions = self._models.setdefault(source.name, {})
        old = versions.get(source.version)
        versions[source.version] = new = _Version(source, State.AVAILABLE, servable=servable)
        self._notify(new)
        if old is None or old.servable is None:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        old.state = State.UNLOADING
        return asyncio.ensure_future(self._let_go(old))

    async def unload(self, name: str, number: int) -> VersionStatus:
        """Unloads a version: waits for the requests that use it, and frees its memory.

        Raises:
            NotFound: no such version, or it is not available.
        """
        version = self._models.get(name, {}).get(number)
        await self.retire(name, number)
        assert version is not None, "retire has found it"
        return version.status

    def retire(self, name: str, number: int) -> asyncio.Future[None]:
        """Starts unloading a version: from now on no new request gets it.

        Returns:
            A future that is done when the requests that use it are answered and its memory is freed.

        Raises:
            NotFound: no such version, or it is not available.
        """
        version = self._models.get(name, {}).get(number)
        if version is None or version.servable is None or version.state is not State.AVAILABLE:
            raise NotFound(f"model {name!r} has no available version {number} to unload")
        self._move(version, State.UNLOADING)
        return asyncio.ensure_future(self._let_go(version))

    def forget(self, name: str, number: int) -> None:
        """Removes a version that is not loaded from the status, because it is not wanted any more."""
        version = self._models.get(name, {}).get(number)
        if version is not None and version.state in (State.START, State.END):
            self._remove(version)

    def acquire(self, name: str, number: int | None = None) -> Handle:
        """Returns a handle of the requested version, or of the newest that is available.

        Raises:
            NotFound: unknown, unloaded or broken, in TensorFlow Serving's words, which clients look for.
            Unavailable: it is still loading.
        """
        return Handle(self._pick(name, number), self._notify)

    def status(self, name: str, number: int | None = None) -> list[VersionStatus]:
        """Returns the statuses of all versions of a model, ascending, or of one version.

        Raises:
            NotFound
        """
        versions = self._models.get(name)
        if not versions:
            raise NotFound(f"Could not find any versions of model {name}")
        if number is None:
            return [version.status for _, version in sorted(versions.items())]
        if number not in versions:
            raise NotFound(f"Could not find version {number} of model {name}")
        return [versions[number].status]

    def all_status(self) -> list[VersionStatus]:
        """Returns the statuses of every version of every model."""
        return [status for name in self._models for status in self.status(name)]

    def available(self, name: str) -> list[int]:
        """Returns the versions of a model that answer requests, ascending."""
        versions = self._models.get(name, {})
        return sorted(number for number, version in versions.items() if version.state is State.AVAILABLE)

    def without_manifest(self, name: str) -> dict[int, Path]:
        """Returns the available versions of a model that were loaded without a manifest, and their directories."""
        return {
            number: version.source.directory
            for number, version in self._models.get(name, {}).items()
            if version.state is State.AVAILABLE and version.servable is not None and version.servable.manifest is None
        }

    def _pick(self, name: str, number: int | None) -> _Version:
        versions = self._models.get(name, {})
        newest = max(versions, default=None) if number is None else number
        latest = versions.get(newest) if newest is not None else None
        if latest is not None and latest.state is State.AVAILABLE:
            return latest
        wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
        candidates = versions.values() if number is None else filter(None, [versions.get(number)])
        ordered = sorted(candidates, key=lambda version: version.source.version, reverse=True)
        for version in ordered:
            if version.state is State.AVAILABLE:
                return version
        if any(version.state in (State.START, State.LOADING) for version in ordered):
            raise Unavailable(f"model {name!r} is still loading; try again")
        why = next((f": {version.error}" for version in ordered if version.error is not None), "")
        raise NotFound(f"Servable not found for request: {wanted}{why}")

    async def _open(self, source: ModelVersion) -> Servable:
        try:
            return await self._loader(source)
        except CvserveError:
            raise
        except Exception as error:
            _LOG.exception("loading model %s version %d failed", source.name, source.version)
            what = (f"{type(error).__name__}: {error}".strip() or "unknown").splitlines()[0]
            raise ArtifactError(f"{source.directory} cannot be loaded: {what}") from error

    async def _let_go(self, version: _Version) -> None:
        while version.users:
            version.unused.clear()
            await version.unused.wait()
        servable, version.servable = version.servable, None
        assert servable is not None, "a version is closed once"
        servable.queue.close()
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(None, servable.close)
        except Exception:  # noqa: BLE001 - any library may raise anything, and no request uses this version any more
            _LOG.exception("model %s version %d could not be closed", version.source.name, version.source.version)
        del servable
        await loop.run_in_executor(None, give_back)
        self._move(version, State.END)
        self._forget_oldest(version.source.name)

    def _forget_oldest(self, name: str) -> None:
        versions = self._models.get(name, {})
        ended = [version for _, version in sorted(versions.items()) if version.state is State.END and not version.error]
        for version in ended[:-REMEMBERED]:
            self._remove(version)

    def _remove(self, version: _Version) -> None:
        versions = self._models[version.source.name]
        del versions[version.source.version]
        if not versions:
            del self._models[version.source.name]

    def _move(self, version: _Version, state: State) -> None:
        version.state = state
        self._notify(version)

    def _notify(self, version: _Version) -> None:
        # Only for the version that is listed under its number: the end of one that was replaced is not reported.
        if self._models.get(version.source.name, {}).get(version.source.version) is version:
            self._on_change(version.status)
