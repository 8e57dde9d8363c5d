"""The served versions follow the disk: polling, and the end. Directories are real, models are fakes."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from reconciler_kit import FakeServable, Models, config
from serving_kit import eventually

from cvserve.errors import FailedPrecondition, NotFound, Unavailable
from cvserve.serving.core.background import Watcher
from cvserve.serving.core.manager import State
from cvserve.serving.core.settings import ModelSettings
from cvserve.serving.core.version_policy import Specific


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "models")


async def test_a_new_version_is_loaded_before_the_old_one_is_unloaded(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    assert models.live() == [1]
    models.put(2, "new")
    models.gates[2] = asyncio.Event()
    polling = asyncio.ensure_future(reconciler.poll())
    await eventually(lambda: ("m", 2) in models.loads)
    assert models.state(2) == (State.LOADING, None)
    assert models.answer() == "good"
    with models.manager.acquire("m") as old:
        models.gates[2].set()
        await eventually(lambda: models.live() == [2])
        assert models.answer() == "new"
        # A request that uses the old version keeps it until its end.
        assert models.state(1) == (State.UNLOADING, None)
        assert not cast(FakeServable, old).closed
        assert not polling.done()
    await polling
    assert models.state(1) == (State.END, None)
    assert cast(FakeServable, old).closed
    assert models.loads == [("m", 1), ("m", 2)]


async def test_a_version_whose_manifest_arrives_late_is_loaded_again(models: Models) -> None:
    """A slow copy can be served without a manifest at first."""
    directory = models.put(1)
    reconciler = await models.start()
    await reconciler.poll()
    assert models.loads == [("m", 1)]
    (directory / "manifest.json").write_text("{}")
    (directory / "model").write_text("broken")
    await reconciler.poll()
    assert (models.loads, models.answer()) == ([("m", 1)] * 2, "good"), "the old one stays until the new one can"
    (directory / "model").write_text("whole")
    await reconciler.poll()
    assert models.answer() == "whole"
    await reconciler.poll()
    assert models.loads == [("m", 1)] * 3


async def test_a_poll_that_finds_nothing_new_does_nothing(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    for _ in range(3):
        await reconciler.poll()
    assert models.loads == [("m", 1)]


async def test_a_request_that_never_ends_does_not_block_later_versions(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    with models.manager.acquire("m"):
        for version in (2, 3):
            models.put(version)
            await reconciler.begin_poll()
            await eventually(lambda wanted=version: models.live() == [wanted])  # type: ignore[misc]
        assert models.state(1) == (State.UNLOADING, None)
    await eventually(lambda: models.state(1) == (State.END, None))


async def test_a_broken_version_is_reported_and_the_old_one_stays(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    directory = models.put(2, "broken")
    await reconciler.poll()
    assert models.state(2) == (State.END, f"{directory / 'model'} is broken")
    assert models.live() == [1]
    # Not at every check, but after the given time, and not for ever.
    for _ in range(3):
        await reconciler.poll()
    assert models.loads.count(("m", 2)) == 1
    for _ in range(9):
        models.now += models.settings.load_retry_seconds
        await reconciler.poll()
    assert models.loads.count(("m", 2)) == 1 + models.settings.max_load_retries
    assert models.live() == [1]
    # A better version comes; the broken one is not wanted any more.
    models.put(3)
    await reconciler.poll()
    assert models.live() == [3]
    with pytest.raises(NotFound, match="Could not find version 2 of model m"):
        models.manager.status("m", 2)


async def test_a_version_that_is_being_copied_is_served_once_it_is_complete(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    directory = models.root / "m" / "2"
    directory.mkdir()
    await reconciler.poll()
    assert models.state(2) == (State.END, f"{directory} is incomplete")
    (directory / "weights").write_bytes(b"half")
    await reconciler.poll()
    assert models.live() == [1]
    (directory / "model").write_text("whole")
    await reconciler.poll()
    assert models.live() == [2]
    assert models.answer() == "whole"
    assert models.state(2) == (State.AVAILABLE, None)


async def test_a_file_that_comes_while_the_version_is_being_read_is_not_missed(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    directory = models.put(2, "broken")
    models.gates[2] = asyncio.Event()
    polling = asyncio.ensure_future(reconciler.poll())
    await eventually(lambda: ("m", 2) in models.loads)
    (directory / "late").touch()
    models.gates[2].set()
    await polling
    (directory / "model").write_text("good")
    (directory / "late").unlink()
    await reconciler.poll()
    assert models.live() == [2]


async def test_models_are_added_and_removed_with_their_directories(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    models.put(4, name="other")
    await reconciler.poll()
    assert models.live("other") == [4]
    assert reconciler.names() == ["m", "other"]
    models.remove(4, "other")
    await reconciler.poll()
    assert models.live("other") == []
    assert reconciler.names() == ["m"]
    assert models.live() == [1]
    models.put(4, name="other")
    await reconciler.poll()
    assert models.live("other") == [4]


async def test_models_stay_while_the_disk_cannot_be_read(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    models.put(1)
    reconciler = await models.start()
    models.root.rename(models.root.with_name("away"))
    for _ in range(2):
        await reconciler.poll()
    assert models.live() == [1]
    assert caplog.text.count("the model repository cannot be read") == 1
    models.root.with_name("away").rename(models.root)
    models.put(2)
    await reconciler.poll()
    assert models.live() == [2]


async def test_after_removing_the_newest_version_the_one_before_is_served(models: Models) -> None:
    models.put(1, "first")
    models.put(2)
    reconciler = await models.start()
    assert models.live() == [2]
    models.remove(2)
    await reconciler.poll()
    assert models.live() == [1]
    assert models.answer() == "first"


async def test_after_a_restart_an_older_version_is_the_fallback_for_a_broken_one(models: Models) -> None:
    models.put(1, "first")
    models.put(2, "broken")
    directory = models.put(3, "broken")
    reconciler = await models.start()
    assert models.live() == [1]
    assert models.answer() == "first"
    assert models.state(3) == (State.END, f"{directory / 'model'} is broken")
    for _ in range(3):
        await reconciler.poll()
    assert models.loads == [("m", 3), ("m", 2), ("m", 1)]
    (directory / "model").write_text("mended")
    await reconciler.poll()
    assert models.live() == [3]
    # Where versions are named, only those are served.
    await reconciler.unload("m")
    (directory / "model").write_text("broken again")
    (directory / "model").write_text("broken")
    with pytest.raises(FailedPrecondition, match="did not become available"):
        await reconciler.apply([config(models, policy=Specific((3,)))])
    assert models.live() == []


async def test_a_model_whose_manifest_cannot_be_read_keeps_no_other_from_starting(
    models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    models.put(1)
    broken = models.root / "a" / "manifest.json"
    broken.parent.mkdir()
    broken.write_text("{")
    await models.start()
    assert models.live() == [1]
    assert f"{broken} cannot be used" in caplog.text


async def test_policies_of_the_settings(tmp_path: Path) -> None:
    models = Models(
        tmp_path, versions="latest 2", models={"a": ModelSettings(versions="all"), "s": ModelSettings(versions=(1, 3))}
    )
    for name in ("m", "a", "s"):
        for version in (1, 2, 3):
            models.put(version, name=name)
    reconciler = await models.start()
    assert (models.live("m"), models.live("a"), models.live("s")) == ([2, 3], [1, 2, 3], [1, 3])
    for name in ("m", "a", "s"):
        models.put(4, name=name)
    await reconciler.poll()
    assert (models.live("m"), models.live("a"), models.live("s")) == ([3, 4], [1, 2, 3, 4], [1, 3])


async def test_the_watcher_checks_until_it_is_stopped(models: Models) -> None:
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("must not be the last one")

    watcher = Watcher(look, 0.001)
    watcher.start()
    await eventually(lambda: looks >= 3)
    await watcher.stop()
    before = looks
    await asyncio.sleep(0.01)
    assert looks == before
    never = Watcher(look, 0)
    never.start()
    await asyncio.sleep(0.01)
    assert looks == before
    await never.stop()


async def test_the_end_does_not_wait_for_versions_that_are_being_loaded(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    models.put(2)
    models.gates[2] = asyncio.Event()
    await reconciler.begin_poll()
    await eventually(lambda: ("m", 2) in models.loads)
    assert reconciler.loading
    await asyncio.wait_for(reconciler.close(), 1)
    models.gates[2].set()
    await eventually(lambda: not reconciler.loading)


async def test_unloaded_models_are_freed(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    with models.manager.acquire("m") as servable:
        gone = weakref.ref(servable)
    del servable
    await reconciler.unload("m")

    def let_go() -> bool:
        gc.collect()
        return gone() is None

    # The thread that closed it may free it a moment after the change is reported.
    await eventually(let_go)


async def test_the_status_of_a_server_that_runs_long_stays_short(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    for version in range(2, 30):
        models.put(version)
        await reconciler.poll()
    assert models.live() == [29]
    assert [status.version for status in models.manager.status("m")] == [21, 22, 23, 24, 25, 26, 27, 28, 29]


async def test_after_the_end_no_change_begins(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    await reconciler.close()
    models.put(2)
    refused: list[Callable[[], Any]] = [
        lambda: reconciler.load("m"),
        lambda: reconciler.unload("m"),
        lambda: reconciler.reload("m"),
        lambda: reconciler.apply([]),
    ]
    for call in refused:
        with pytest.raises(Unavailable, match="shutting down"):
            await call()
    await reconciler.poll()
    assert models.live() == [1]
    assert models.loads == [("m", 1)]
