"""The versions of the models: which are loaded, in what state, and who is using them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import IntEnum

from cvserve.errors import ArtifactError, CvserveError, NotFound, Unavailable
from cvserve.serving.core.repository import ModelVersion
from cvserve.serving.core.servable import Servable

_LOG = logging.getLogger(__name__)

Loader = Callable[[ModelVersion], Awaitable[Servable]]


class State(IntEnum):
    """The life of a version, with the numbers of TensorFlow Serving's ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """error: why it ended, None if nothing went wrong."""

    name: str
    version: int
    state: State
    error: CvserveError | None = None


@dataclass(eq=False)
class _Version:
    source: ModelVersion
    state: State = State.START
    error: CvserveError | None = None
    servable: Servable | None = None
    users: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def status(self) -> VersionStatus:
        return VersionStatus(self.source.name, self.source.version, self.state, self.error)


class Handle:
    """A version in use: `with handle as servable`. Not a generator, since every request takes one."""

    __slots__ = ("_version",)

    def __init__(self, version: _Version) -> None:
        self._version = version

    def __enter__(self) -> Servable:
        version = self._version
        assert version.servable is not None, "an available version has its servable"
        version.users += 1
        return version.servable

    def __exit__(self, *_: object) -> None:
        self._version.users -= 1
        if not self._version.users:
            self._version.unused.set()


class Manager:
    """Loads and unloads versions and hands them out. Used from the loop's thread only.

    A handle (`acquire`) keeps its version alive: unloading waits until the last one is given back, while new
    requests no longer get it.
    """

    def __init__(self, loader: Loader, on_change: Callable[[VersionStatus], None] = lambda status: None) -> None:
        """
        Args:
            loader: opens and warms a version; what it raises becomes the version's status.
            on_change: told of every change of state.
        """
        self._loader = loader
        self._on_change = on_change
        self._models: dict[str, dict[int, _Version]] = {}

    def announce(self, source: ModelVersion) -> None:
        """Makes a version known before its turn to be loaded comes, so that requests are told to wait."""
        versions = self._models.setdefault(source.name, {})
        known = versions.get(source.version)
        if known is None or known.state is State.END:
            versions[source.version] = _Version(source)
            self._on_change(versions[source.version].status)

    async def load(self, source: ModelVersion) -> VersionStatus:
        """Loads a version; a failure ends it with its error in the status, and touches no other version."""
        self.announce(source)
        version = self._models[source.name][source.version]
        if version.state is not State.START:
            return version.status
        self._move(version, State.LOADING)
        try:
            version.servable = await self._loader(source)
        except CvserveError as error:
            self._fail(version, error)
        except Exception as error:  # noqa: BLE001 - any library may raise anything over a broken file
            _LOG.exception("loading model %s version %d failed", source.name, source.version)
            what = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            self._fail(version, ArtifactError(f"{source.directory} cannot be loaded: {what}"))
        else:
            self._move(version, State.AVAILABLE)
        return version.status

    async def unload(self, name: str, number: int) -> VersionStatus:
        """Takes a version out of use, waits for the requests that have it, and gives its memory back.

        Raises:
            NotFound: no such version, or it is not available.
        """
        version = self._models.get(name, {}).get(number)
        if version is None or version.servable is None or version.state is not State.AVAILABLE:
            raise NotFound(f"model {name!r} has no available version {number} to unload")
        self._move(version, State.UNLOADING)
        while version.users:
            version.unused.clear()
            await version.unused.wait()
        servable, version.servable = version.servable, None
        servable.batcher.close()
        await asyncio.get_running_loop().run_in_executor(None, servable.close)
        self._move(version, State.END)
        return version.status

    def acquire(self, name: str, number: int | None = None) -> Handle:
        """A version to work with: the one asked for, or the newest that is available.

        Raises:
            NotFound: unknown, unloaded or broken, in TensorFlow Serving's words, which clients look for.
            Unavailable: it is still loading.
        """
        return Handle(self._pick(name, number))

    def status(self, name: str, number: int | None = None) -> list[VersionStatus]:
        """The versions of a model, ascending, or just one.

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
        """Every version of every model."""
        return [status for name in self._models for status in self.status(name)]

    def available(self, name: str) -> list[int]:
        """The versions of a model that can be asked, ascending."""
        versions = self._models.get(name, {})
        return sorted(number for number, version in versions.items() if version.state is State.AVAILABLE)

    def _pick(self, name: str, number: int | None) -> _Version:
        versions = self._models.get(name, {})
        newest = max(versions, default=None) if number is None else number
        found = versions.get(newest) if newest is not None else None
        if found is not None and found.state is State.AVAILABLE:
            return found
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

    def _move(self, version: _Version, state: State) -> None:
        version.state = state
        self._on_change(version.status)

    def _fail(self, version: _Version, error: CvserveError) -> None:
        version.error = error
        self._move(version, State.END)
