"""Lists of models that replace each other, and labels. Directories are real, models are fakes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from reconciler_kit import Models, config
from serving_kit import eventually

from cvserve.errors import CvserveError, FailedPrecondition, InvalidInput, NotFound
from cvserve.serving.core.settings import ModelConfig, ModelSettings
from cvserve.serving.core.version_policy import All, Latest, Specific


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "models")


async def test_a_new_list_replaces_the_old_one(models: Models) -> None:
    for name in ("m", "other", "third"):
        models.put(1, name=name)
        models.put(2, name=name)
    reconciler = await models.start()
    await reconciler.apply([config(models, policy=All()), config(models, "third", policy=Specific((1,)))])
    assert (models.live(), models.live("other"), models.live("third")) == ([1, 2], [], [1])
    assert reconciler.names() == ["m", "third"]
    # From now on the list decides what is served, not the directory.
    models.put(3, name="other")
    models.put(3)
    await reconciler.poll()
    assert (models.live(), models.live("other")) == ([1, 2, 3], [])
    await reconciler.apply([])
    assert reconciler.names() == []
    assert models.live() == []


async def test_a_wrong_list_changes_nothing(models: Models) -> None:
    models.put(1)
    reconciler = await models.start()
    other = config(models, "other", base_path=models.root / "m")
    wrong: list[tuple[list[ModelConfig], type[CvserveError], str]] = [
        ([other, other], InvalidInput, "Illegal to list model other multiple times in config list"),
        ([config(models, base_path=Path("m"))], InvalidInput, "Expected model m to have an absolute path or URI"),
        ([config(models, "other")], NotFound, "Could not find base path .*other for servable other"),
        ([config(models, "")], InvalidInput, "has no name"),
        (
            [other, config(models, labels={"stable": 2})],
            FailedPrecondition,
            "Request to assign label to version 2 of model m, which is not currently available for inference",
        ),
    ]
    (models.root / "empty").mkdir()
    wrong.append(([config(models, "empty")], NotFound, "No versions of servable empty found under base path"))
    for configs, kind, text in wrong:
        with pytest.raises(kind, match=text):
            await reconciler.apply(configs)
    assert reconciler.names() == ["m"]
    assert models.loads == [("m", 1)]
    models.put(2)
    await reconciler.poll()
    assert models.live() == [2]


async def test_other_settings_and_paths_load_again_without_interruption(models: Models) -> None:
    models.put(1, "here")
    reconciler = await models.start()
    elsewhere = Models(models.root)
    elsewhere.put(1, "there", name="m-copy")
    await reconciler.apply([config(models)])
    assert models.loads == [("m", 1)], "nothing has changed"
    await reconciler.apply([config(models, policy=Latest(2), labels={"stable": 1})])
    assert models.loads == [("m", 1)], "neither policy nor labels matter to what is loaded"
    models.gates[1] = asyncio.Event()
    applying = asyncio.ensure_future(reconciler.apply([config(models, base_path=models.root / "m-copy")]))
    await eventually(lambda: len(models.loads) == 2)
    assert models.answer() == "here"
    models.gates[1].set()
    await applying
    assert models.answer() == "there"
    await reconciler.apply([config(models, base_path=models.root / "m-copy", settings=ModelSettings(max_batch_size=4))])
    with models.manager.acquire("m") as servable:
        assert cast(Any, servable).settings.max_batch_size == 4


async def test_a_model_of_the_list_that_cannot_be_loaded_is_an_error_and_the_others_serve(models: Models) -> None:
    models.put(1)
    models.put(1, "broken", name="bad")
    reconciler = models.open()
    with pytest.raises(FailedPrecondition, match=r"1 servable\(s\) did not become available: bad: .* is broken"):
        await reconciler.apply([config(models, "bad"), config(models)])
    assert models.live() == [1]
    (models.root / "bad" / "1" / "model").write_text("mended")
    await reconciler.poll()
    assert models.live("bad") == [1]


async def test_a_label_for_a_version_that_is_not_served_is_logged(
    models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    models.put(1)
    await models.open(repository=None).start([config(models, labels={"stable": 1, "old": 9})])
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["model m: label 'old' names version 9, which is not served"]


async def test_labels(models: Models) -> None:
    for version in (1, 2, 3):
        models.put(version)
    reconciler = models.open()
    await reconciler.start([config(models, policy=Specific((1, 2)), labels={"stable": 1})])
    assert reconciler.version_of("m", "stable") == 1
    await reconciler.apply([config(models, policy=Specific((1, 2)), labels={"stable": 1, "canary": 2, "new": 2})])
    assert reconciler.version_of("m", "canary") == 2
    assert reconciler.labels_of("m", 2) == ["canary", "new"]
    for name, label in (("m", "x"), ("nope", "stable")):
        with pytest.raises(InvalidInput, match=f"Unrecognized servable version label: {label}"):
            reconciler.version_of(name, label)
    with pytest.raises(FailedPrecondition, match="assign label to version 3 of model m"):
        await reconciler.apply([config(models, labels={"canary": 3})])
    assert reconciler.version_of("m", "canary") == 2


async def test_new_labels_for_versions_that_are_not_loaded_where_allowed(tmp_path: Path) -> None:
    models = Models(tmp_path, allow_version_labels_for_unavailable_models=True)
    models.put(1)
    models.put(2)
    reconciler = models.open()
    await reconciler.start([config(models, policy=Specific((1,)), labels={"stable": 1})])
    await reconciler.apply([config(models, policy=Specific((1,)), labels={"stable": 1, "canary": 2})])
    assert reconciler.version_of("m", "canary") == 2
    # Only new labels: one that is in use must not point to another version.
    with pytest.raises(FailedPrecondition, match="assign label to version 2"):
        await reconciler.apply([config(models, policy=Specific((1,)), labels={"stable": 2})])
