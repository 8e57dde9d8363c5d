"""Decides which versions of a model should be served, and what to do next: pure functions of a snapshot."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass

from cvserve.errors import InvalidInput


@dataclass(frozen=True)
class Latest:
    """Serves the `count` newest versions on disk; 0 means 1, as in TensorFlow Serving."""

    count: int = 1


@dataclass(frozen=True)
class All:
    """Serves every version on disk."""


@dataclass(frozen=True)
class Specific:
    """Serves these versions, if they are on disk."""

    versions: tuple[int, ...]


VersionPolicy = Latest | All | Specific


def aspired(policy: VersionPolicy, on_disk: Collection[int]) -> list[int]:
    """Returns the versions on disk that the policy wants, ascending."""
    versions = sorted(set(on_disk))
    if isinstance(policy, Latest):
        return versions[-max(1, policy.count) :]
    if isinstance(policy, All):
        return versions
    wanted = set(policy.versions)
    return [version for version in versions if version in wanted]


def fallback_versions(policy: VersionPolicy, on_disk: Collection[int], wanted: Collection[int]) -> list[int]:
    """Returns the versions that may be served while none of the wanted ones can be, the best first.

    After a restart with a broken newest version, the version before it answers, as it would have without the restart.
    (TensorFlow Serving serves nothing.) Only the policy `Latest` has fallback versions.
    """
    if not isinstance(policy, Latest):
        return []
    return sorted(set(on_disk) - set(wanted), reverse=True)


@dataclass(frozen=True)
class Known:
    """Holds the state of a version that has been tried.

    Attributes:
        available: whether it answers requests.
        may_retry: whether it is not available, and it is time to try again.
    """

    available: bool = False
    may_retry: bool = False


@dataclass(frozen=True)
class Step:
    """Holds the versions to load and to unload next. Before unloading, `load` must be done and the plan made again."""

    load: tuple[int, ...] = ()
    unload: tuple[int, ...] = ()


def plan(wanted: Collection[int], known: Mapping[int, Known]) -> Step:
    """Returns the next step of one model towards `wanted`.

    A version that is no longer wanted keeps answering until a wanted one can answer instead. If no version is wanted,
    all are unloaded. Newer versions are loaded first.

    Args:
        wanted: see `aspired`.
        known: every version that is available or has been tried. A wanted version that is not in it is new.
    """
    load = [version for version in wanted if version not in known or known[version].may_retry]
    answers = any(known[version].available for version in wanted if version in known)
    unload: list[int] = []
    if not load and (answers or not wanted):
        unload = [version for version, state in known.items() if state.available and version not in wanted]
    return Step(tuple(sorted(load, reverse=True)), tuple(sorted(unload)))


@dataclass(frozen=True)
class Failure:
    """Describes the last failure to load a version.

    Attributes:
        tries: the number of failures in a row, with the same files.
        when: the time of the last one, in seconds.
        files: see `repository.fingerprint`.
    """

    tries: int
    when: float
    files: Hashable


def may_retry(failure: Failure, files: Hashable, now: float, *, every: float, retries: int) -> bool:
    """Returns whether it is time to try again: at once if the files have changed (a version may still be being copied);
    otherwise after `every` seconds, and at most `retries` times."""
    return files != failure.files or (failure.tries <= retries and now >= failure.when + every)


def parse_policy(value: str | Collection[int]) -> VersionPolicy:
    """Returns the policy of a value in a settings file: "latest", "latest 3", "all", or a list of versions.

    Raises:
        InvalidInput
    """
    if not isinstance(value, str):
        if not value or any(version < 0 for version in value):
            raise InvalidInput(f"versions = {list(value)!r} must list versions to serve, none of them negative")
        return Specific(tuple(sorted(set(value))))
    word, _, count = value.strip().partition(" ")
    if word == "all" and not count:
        return All()
    if word == "latest" and (not count or (count.strip().isdecimal() and int(count) > 0)):
        return Latest(int(count or 1))
    raise InvalidInput(f"versions = {value!r} is not a policy; write latest, latest 3, all, or a list such as [1, 2]")
