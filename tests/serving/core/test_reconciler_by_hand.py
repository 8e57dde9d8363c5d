"""Loading, unloading and reloading on request. Directories are real, models are fakes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest
from reconciler_kit import FakeServable, Models, config
from serving_kit import eventually, turns

from cvserve.errors import ArtifactError, InvalidInput, NotFound
from cvserve.serving.core.manager import State


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "models")


async def test_polling_keeps_models_loaded_and_unloaded_by_hand(models: Models) -> None:
    models.put(1)
    models.put(2)
    reconciler = await models.start()
    await reconciler.load("m", 1)
    await reconciler.poll()
    assert models.live() == [1, 2]
    # The policy has an older one to serve instead.
    await reconciler.unload("m", 2)
    await reconciler.poll()
    assert models.live() == [1]
    with pytest.raises(NotFound, match="has no available version 2 to unload"):
        await reconciler.unload("m", 2)
    await reconciler.unload("m")
    models.put(3)
    await reconciler.poll()
    assert models.live() == []
    await reconciler.load("m")
    assert models.live() == [3]


async def test_unloading_a_version_loads_the_one_before_first(models: Models) -> None:
    models.put(1, "first")
    models.put(2)
    reconciler = await models.start()
    models.gates[1] = asyncio.Event()
    unloading = asyncio.ensure_future(reconciler.unload("m", 2))
    await eventually(lambda: ("m", 1) in models.loads)
    assert models.answer() == "good"
    models.gates[1].set()
    await unloading
    assert models.answer() == "first"
    assert models.state(2) == (State.END, None)


async def test_a_failed_load_reports_the_reason_and_changes_nothing(models: Models) -> None:
    models.put(1)
    models.put(2, "broken")
    (models.root / "m" / "2").rename(models.root / "m" / "hidden")
    reconciler = await models.start()
    (models.root / "m" / "hidden").rename(models.root / "m" / "2")
    with pytest.raises(ArtifactError, match="is broken"):
        await reconciler.load("m", 2)
    assert models.live() == [1]
    with pytest.raises(NotFound, match="Could not find version 9 of model m"):
        await reconciler.load("m", 9)
    with pytest.raises(NotFound, match="the repository has no model 'nope'"):
        await reconciler.load("nope")
    with pytest.raises(NotFound, match="Could not find any versions of model nope"):
        await reconciler.unload("nope")


async def test_nothing_outside_the_repository_is_loaded_on_request(models: Models, tmp_path: Path) -> None:
    models.put(1)
    reconciler = await models.start()
    outside = Models(tmp_path / "outside")
    secret = outside.put(5)
    (models.root / "m" / "5").symlink_to(secret)
    (models.root / "link").symlink_to(secret.parent)
    with pytest.raises(InvalidInput, match="lies outside the model repository"):
        await reconciler.load("m", 5)
    for name in ("link", "../outside/m", ".."):
        with pytest.raises(InvalidInput):
            await reconciler.load(name)
    with pytest.raises(InvalidInput, match="lies outside the model repository"):
        await reconciler.apply([config(models, base_path=secret.parent)])
    assert models.loads == [("m", 1)]


async def test_the_operator_can_allow_more_directories(tmp_path: Path) -> None:
    models = Models(tmp_path / "models", model_roots=(tmp_path / "allowed",))
    models.put(1)
    reconciler = await models.start()
    for name in ("allowed", "listed", "refused"):
        Models(tmp_path / name).put(1, name)
    with pytest.raises(InvalidInput, match="lies outside the model repository; model_roots in the settings"):
        await reconciler.apply([config(models, base_path=tmp_path / "listed" / "m")])
    await reconciler.apply([config(models, base_path=tmp_path / "allowed" / "m")])
    assert models.answer() == "allowed"
    await reconciler.apply([config(models, base_path=tmp_path / "listed" / "m")], confined=False)
    assert models.answer() == "listed"
    # Requests may name directories beside the models, and no others.
    await reconciler.apply([config(models, base_path=tmp_path / "listed" / "m")])
    with pytest.raises(InvalidInput, match="lies outside"):
        await reconciler.apply([config(models, base_path=tmp_path / "refused" / "m")])


async def test_reload_loads_the_same_version_again_while_the_old_answers(models: Models) -> None:
    directory = models.put(1, "old")
    reconciler = await models.start()
    (directory / "model").write_text("new")
    await reconciler.poll()
    assert models.answer() == "old"
    models.gates[1] = asyncio.Event()
    reloading = asyncio.ensure_future(reconciler.reload("m"))
    await eventually(lambda: models.loads.count(("m", 1)) == 2)
    with models.manager.acquire("m") as old:
        models.gates[1].set()
        await eventually(lambda: models.answer() == "new")
        assert not cast(FakeServable, old).closed
        assert not reloading.done()
    await reloading
    assert cast(FakeServable, old).closed
    assert models.state(1) == (State.AVAILABLE, None)


async def test_a_reload_that_fails_leaves_the_old_one(models: Models) -> None:
    directory = models.put(1, "old")
    reconciler = await models.start()
    (directory / "model").write_text("broken")
    with pytest.raises(ArtifactError, match="is broken"):
        await reconciler.reload("m")
    assert models.answer() == "old"
    # It is wanted still, so it is tried again when the file changes.
    (directory / "model").write_text("mended")
    await reconciler.poll()
    assert models.answer() == "mended"


async def test_a_caller_who_gives_up_leaves_nothing_half_done(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    models.put(2)
    models.gates[2] = asyncio.Event()
    loading = asyncio.ensure_future(reconciler.load("m"))
    await eventually(lambda: ("m", 2) in models.loads)
    loading.cancel()
    await turns()
    assert loading.cancelled()
    models.gates[2].set()
    await eventually(lambda: models.live() == [2])


async def test_a_model_unloaded_while_it_loads_does_not_stay(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    models.put(2)
    models.gates[2] = asyncio.Event()
    polling = asyncio.ensure_future(reconciler.poll())
    await eventually(lambda: ("m", 2) in models.loads)
    unloading = asyncio.ensure_future(reconciler.unload("m"))
    await turns()
    models.gates[2].set()
    await asyncio.gather(polling, unloading)
    assert models.live() == []
