"""The states of a version."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest
from serving_kit import turns

from cvserve.errors import ArtifactError, NotFound, Unavailable
from cvserve.serving.core.manager import Manager, State, VersionStatus
from cvserve.serving.core.repository import ModelVersion
from cvserve.serving.core.servable import Servable


class FakeQueue:
    def close(self) -> None:
        pass


class FakeServable:
    """Has the parts of a Servable that the manager uses."""

    def __init__(self, name: str, version: int) -> None:
        self.name, self.version = name, version
        self.queue = FakeQueue()
        self.closed = False

    def close(self) -> None:
        self.closed = True


def source(name: str, version: int) -> ModelVersion:
    return ModelVersion(name, version, Path(name) / str(version))


async def load(found: ModelVersion) -> Servable:
    if found.name == "broken":
        raise ArtifactError("the manifest is damaged")
    if found.name == "crash":
        raise ZeroDivisionError("deep inside\na library")
    return cast(Servable, FakeServable(found.name, found.version))


async def test_states_in_order_and_the_newest_answers() -> None:
    seen: list[VersionStatus] = []
    manager = Manager(load, seen.append)
    for version in (2, 10, 1):
        await manager.load(source("m", version))
    assert [status.state for status in seen if status.version == 2] == [State.START, State.LOADING, State.AVAILABLE]
    with manager.acquire("m") as servable:
        assert servable.version == 10
    with manager.acquire("m", 1) as servable:
        assert servable.version == 1
    assert manager.available("m") == [1, 2, 10]
    assert [status.version for status in manager.status("m")] == [1, 2, 10]


async def test_a_broken_model_has_an_error_status_and_stops_no_other() -> None:
    manager = Manager(load)
    for name in ("broken", "crash", "m"):
        await manager.load(source(name, 1))
    [broken] = manager.status("broken")
    assert broken.state is State.END
    assert str(broken.error) == "the manifest is damaged"
    [crash] = manager.status("crash")
    assert isinstance(crash.error, ArtifactError)
    assert "ZeroDivisionError: deep inside" in str(crash.error)
    assert "a library" not in str(crash.error)
    with manager.acquire("m"):
        pass
    with (
        pytest.raises(NotFound, match=r"Servable not found for request: Latest\(broken\): the manifest is damaged"),
        manager.acquire("broken"),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("nope", None, r"Servable not found for request: Latest\(nope\)"),
        ("nope", 3, r"Servable not found for request: Specific\(nope, 3\)"),
        ("m", 3, r"Servable not found for request: Specific\(m, 3\)"),
    ],
)
async def test_unknown_ones_are_named_as_tensorflow_serving_does(name: str, version: int | None, text: str) -> None:
    manager = Manager(load)
    await manager.load(source("m", 1))
    with pytest.raises(NotFound, match=text), manager.acquire(name, version):
        pass


async def test_a_model_that_is_loading_is_unavailable_not_unknown() -> None:
    gate = asyncio.Event()

    async def slow(found: ModelVersion) -> Servable:
        await gate.wait()
        return await load(found)

    manager = Manager(slow)
    manager.announce(source("m", 1))
    with pytest.raises(Unavailable, match="model 'm' is still loading"), manager.acquire("m"):
        pass
    task = asyncio.ensure_future(manager.load(source("m", 1)))
    await turns()
    with pytest.raises(Unavailable), manager.acquire("m", 1):
        pass
    assert manager.status("m")[0].state is State.LOADING
    gate.set()
    await task
    with manager.acquire("m"):
        pass


async def test_unloading_waits_for_requests_that_use_it_and_new_ones_do_not_get_it() -> None:
    manager = Manager(load)
    await manager.load(source("m", 1))
    await manager.load(source("m", 2))
    with manager.acquire("m") as servable:
        assert servable.version == 2
        unloading = asyncio.ensure_future(manager.unload("m", 2))
        await turns()
        assert manager.status("m", 2)[0].state is State.UNLOADING
        with manager.acquire("m") as other:
            assert other.version == 1
        with pytest.raises(NotFound), manager.acquire("m", 2):
            pass
        assert not cast(FakeServable, servable).closed
        assert not unloading.done()
    status = await unloading
    assert status.state is State.END
    assert cast(FakeServable, servable).closed
    with pytest.raises(NotFound, match="no available version 2"):
        await manager.unload("m", 2)


async def test_an_unloaded_version_can_be_loaded_again() -> None:
    manager = Manager(load)
    await manager.load(source("m", 1))
    await manager.unload("m", 1)
    assert (await manager.load(source("m", 1))).state is State.AVAILABLE


async def test_a_version_can_be_loaded_again_while_it_is_being_unloaded() -> None:
    seen: list[VersionStatus] = []
    manager = Manager(load, seen.append)
    await manager.load(source("m", 1))
    with manager.acquire("m") as old:
        unloading = asyncio.ensure_future(manager.unload("m", 1))
        await turns()
        assert (await manager.load(source("m", 1))).state is State.AVAILABLE
        with manager.acquire("m") as new:
            assert new is not old
        assert not unloading.done()
    assert (await unloading).state is State.END
    assert cast(FakeServable, old).closed
    assert not cast(FakeServable, new).closed
    # The end of the earlier load is not reported: the version is available.
    assert seen[-1].state is State.AVAILABLE
    assert manager.status("m", 1)[0].state is State.AVAILABLE


async def test_a_library_that_fails_at_closing_leaves_no_version_half_unloaded() -> None:
    manager = Manager(load)
    await manager.load(source("m", 1))
    with manager.acquire("m") as servable:
        cast(FakeServable, servable).close = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    assert (await manager.unload("m", 1)).state is State.END


async def test_a_version_that_is_not_loaded_can_be_forgotten() -> None:
    manager = Manager(load)
    await manager.load(source("broken", 1))
    await manager.load(source("m", 1))
    manager.forget("broken", 1)
    manager.forget("m", 1)
    manager.forget("m", 2)
    with pytest.raises(NotFound, match="Could not find any versions of model broken"):
        manager.status("broken")
    assert manager.available("m") == [1]


async def test_the_last_error_stays_until_it_is_loaded() -> None:
    good = False

    async def sometimes(found: ModelVersion) -> Servable:
        if not good:
            raise ArtifactError("half of it is missing")
        return await load(found)

    seen: list[VersionStatus] = []
    manager = Manager(sometimes, seen.append)
    await manager.load(source("m", 1))
    good = True
    await manager.load(source("m", 1))
    assert [(status.state, status.error is None) for status in seen] == [
        (State.START, True),
        (State.LOADING, True),
        (State.END, False),
        (State.START, False),
        (State.LOADING, False),
        (State.AVAILABLE, True),
    ]


async def test_loading_again_what_is_loaded_changes_nothing() -> None:
    manager = Manager(load)
    await manager.load(source("m", 1))
    with manager.acquire("m") as first:
        assert (await manager.load(source("m", 1))).state is State.AVAILABLE
        with manager.acquire("m") as second:
            assert second is first


async def test_status_of_the_unknown() -> None:
    manager = Manager(load)
    with pytest.raises(NotFound, match="Could not find any versions of model m"):
        manager.status("m")
    await manager.load(source("m", 1))
    with pytest.raises(NotFound, match="Could not find version 7 of model m"):
        manager.status("m", 7)
