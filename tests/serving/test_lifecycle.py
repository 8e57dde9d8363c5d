"""From what is on disk, and what is asked for, to what is served: with directories that are real and models that are
not."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from serving_kit import eventually, turns

from cvserve.errors import ArtifactError, CvserveError, FailedPrecondition, InvalidInput, NotFound, Unavailable
from cvserve.serving.core.config import ModelSettings, ServerSettings
from cvserve.serving.core.lifecycle import Lifecycle
from cvserve.serving.core.manager import Manager, State
from cvserve.serving.core.model_config import All, Latest, ModelConfig, Specific
from cvserve.serving.core.repository import ModelVersion, Repository
from cvserve.serving.core.servable import Servable
from cvserve.serving.core.watcher import Watcher


class FakeBatcher:
    def close(self) -> None:
        pass


class FakeServable:
    """What the manager touches of a Servable, and what stood in the file."""

    def __init__(self, source: ModelVersion, text: str) -> None:
        self.name, self.version, self.text = source.name, source.version, text
        self.settings = source.settings
        self.batcher = FakeBatcher()
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Models:
    """A repository in `root`, and a lifecycle over it. loads: every try. gates: versions that wait to be loaded."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.loads: list[tuple[str, int]] = []
        self.gates: dict[int, asyncio.Event] = {}
        self.settings = ServerSettings(**settings)
        self.now = 1000.0
        self.manager = Manager(self._load)

    def open(self, **options: Any) -> Lifecycle:
        options = {"repository": Repository(self.root, self.settings), "roots": [self.root]} | options
        self.lifecycle = Lifecycle(self.manager, self.settings, clock=lambda: self.now, **options)
        return self.lifecycle

    async def start(self, **options: Any) -> Lifecycle:
        lifecycle = self.open(**options)
        await lifecycle.start(Repository(self.root, self.settings).configs())
        return lifecycle

    async def _load(self, source: ModelVersion) -> Servable:
        self.loads.append((source.name, source.version))
        if source.version in self.gates:
            await self.gates[source.version].wait()
        file = source.directory / "model"
        if not file.is_file():
            raise ArtifactError(f"{source.directory} is incomplete")
        if (text := file.read_text()) == "broken":
            raise ArtifactError(f"{file} is broken")
        return cast(Servable, FakeServable(source, text))

    def put(self, version: int, text: str = "good", name: str = "m") -> Path:
        """Publishes a version, whole, by a rename."""
        staging = self.root / name / ".staging"
        staging.mkdir(parents=True)
        (staging / "model").write_text(text)
        return staging.rename(self.root / name / str(version))

    def remove(self, version: int, name: str = "m") -> None:
        directory = self.root / name / str(version)
        (directory / "model").unlink(missing_ok=True)
        directory.rmdir()

    def live(self, name: str = "m") -> list[int]:
        return self.manager.available(name)

    def state(self, version: int, name: str = "m") -> tuple[State, str | None]:
        [status] = self.manager.status(name, version)
        return status.state, None if status.error is None else str(status.error)

    def answer(self, version: int | None = None, name: str = "m") -> str:
        with self.manager.acquire(name, version) as servable:
            return cast(FakeServable, servable).text


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "models")


def config(models: Models, name: str = "m", **values: Any) -> ModelConfig:
    return ModelConfig(name, values.pop("base_path", models.root / name), **values)


# ---- polling


async def test_a_new_version_is_loaded_before_the_old_one_goes(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
    assert models.live() == [1]
    models.put(2, "new")
    models.gates[2] = asyncio.Event()
    polling = asyncio.ensure_future(lifecycle.poll())
    await eventually(lambda: ("m", 2) in models.loads)
    assert models.state(2) == (State.LOADING, None)
    assert models.answer() == "good"
    with models.manager.acquire("m") as old:
        models.gates[2].set()
        await eventually(lambda: models.live() == [2])
        assert models.answer() == "new"
        # Whoever has the old one keeps it until the end.
        assert models.state(1) == (State.UNLOADING, None)
        assert not cast(FakeServable, old).closed
        assert not polling.done()
    await polling
    assert models.state(1) == (State.END, None)
    assert cast(FakeServable, old).closed
    assert models.loads == [("m", 1), ("m", 2)]


async def test_a_poll_that_finds_nothing_new_does_nothing(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
    for _ in range(3):
        await lifecycle.poll()
    assert models.loads == [("m", 1)]


async def test_a_request_that_never_ends_holds_up_no_later_version(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
    with models.manager.acquire("m"):
        for version in (2, 3):
            models.put(version)
            await lifecycle.begin_poll()
            await eventually(lambda wanted=version: models.live() == [wanted])  # type: ignore[misc]
        assert models.state(1) == (State.UNLOADING, None)
    await eventually(lambda: models.state(1) == (State.END, None))


async def test_a_broken_version_is_reported_and_the_old_one_stays(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
    directory = models.put(2, "broken")
    await lifecycle.poll()
    assert models.state(2) == (State.END, f"{directory / 'model'} is broken")
    assert models.live() == [1]
    # Not at every look, but once the time has come, and not for ever.
    for _ in range(3):
        await lifecycle.poll()
    assert models.loads.count(("m", 2)) == 1
    for _ in range(9):
        models.now += models.settings.load_retry_seconds
        await lifecycle.poll()
    assert models.loads.count(("m", 2)) == 1 + models.settings.max_load_retries
    assert models.live() == [1]
    # A better one comes; nobody asks for the broken one any more.
    models.put(3)
    await lifecycle.poll()
    assert models.live() == [3]
    with pytest.raises(NotFound, match="Could not find version 2 of model m"):
        models.manager.status("m", 2)


async def test_a_version_that_is_being_copied_is_served_once_it_is_whole(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
    directory = models.root / "m" / "2"
    directory.mkdir()
    await lifecycle.poll()
    assert models.state(2) == (State.END, f"{directory} is incomplete")
    (directory / "weights").write_bytes(b"half")
    await lifecycle.poll()
    assert models.live() == [1]
    (directory / "model").write_text("whole")
    await lifecycle.poll()
    assert models.live() == [2]
    assert models.answer() == "whole"
    assert models.state(2) == (State.AVAILABLE, None)


async def test_a_file_that_comes_while_the_version_is_being_read_is_not_missed(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
    directory = models.put(2, "broken")
    models.gates[2] = asyncio.Event()
    polling = asyncio.ensure_future(lifecycle.poll())
    await eventually(lambda: ("m", 2) in models.loads)
    (directory / "late").touch()
    models.gates[2].set()
    await polling
    (directory / "model").write_text("good")
    (directory / "late").unlink()
    await lifecycle.poll()
    assert models.live() == [2]


async def test_models_come_to_the_repository_and_go(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
    models.put(4, name="other")
    await lifecycle.poll()
    assert models.live("other") == [4]
    assert lifecycle.names() == ["m", "other"]
    models.remove(4, "other")
    await lifecycle.poll()
    assert models.live("other") == []
    assert lifecycle.names() == ["m"]
    assert models.live() == [1]
    models.put(4, name="other")
    await lifecycle.poll()
    assert models.live("other") == [4]


async def test_a_disk_that_is_gone_takes_no_model_along(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    models.put(1)
    lifecycle = await models.start()
    models.root.rename(models.root.with_name("away"))
    for _ in range(2):
        await lifecycle.poll()
    assert models.live() == [1]
    assert caplog.text.count("the model repository cannot be read") == 1
    models.root.with_name("away").rename(models.root)
    models.put(2)
    await lifecycle.poll()
    assert models.live() == [2]


async def test_removing_the_newest_version_goes_back_to_the_one_before(models: Models) -> None:
    models.put(1, "first")
    models.put(2)
    lifecycle = await models.start()
    assert models.live() == [2]
    models.remove(2)
    await lifecycle.poll()
    assert models.live() == [1]
    assert models.answer() == "first"


async def test_after_a_restart_an_older_version_stands_in_for_a_broken_one(models: Models) -> None:
    models.put(1, "first")
    models.put(2, "broken")
    directory = models.put(3, "broken")
    lifecycle = await models.start()
    assert models.live() == [1]
    assert models.answer() == "first"
    assert models.state(3) == (State.END, f"{directory / 'model'} is broken")
    for _ in range(3):
        await lifecycle.poll()
    assert models.loads == [("m", 3), ("m", 2), ("m", 1)]
    (directory / "model").write_text("mended")
    await lifecycle.poll()
    assert models.live() == [3]
    # Whoever names versions gets those and no others.
    await lifecycle.unload("m")
    (directory / "model").write_text("broken again")
    (directory / "model").write_text("broken")
    with pytest.raises(FailedPrecondition, match="did not become available"):
        await lifecycle.apply([config(models, policy=Specific((3,)))])
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
    lifecycle = await models.start()
    assert (models.live("m"), models.live("a"), models.live("s")) == ([2, 3], [1, 2, 3], [1, 3])
    for name in ("m", "a", "s"):
        models.put(4, name=name)
    await lifecycle.poll()
    assert (models.live("m"), models.live("a"), models.live("s")) == ([3, 4], [1, 2, 3, 4], [1, 3])


async def test_the_watcher_looks_until_it_is_stopped(models: Models) -> None:
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


# ---- by hand


async def test_load_and_unload_by_hand_outlast_polling(models: Models) -> None:
    models.put(1)
    models.put(2)
    lifecycle = await models.start()
    await lifecycle.load("m", 1)
    await lifecycle.poll()
    assert models.live() == [1, 2]
    # The policy has an older one to serve instead.
    await lifecycle.unload("m", 2)
    await lifecycle.poll()
    assert models.live() == [1]
    with pytest.raises(NotFound, match="has no available version 2 to unload"):
        await lifecycle.unload("m", 2)
    await lifecycle.unload("m")
    models.put(3)
    await lifecycle.poll()
    assert models.live() == []
    await lifecycle.load("m")
    assert models.live() == [3]


async def test_unloading_a_version_loads_the_one_before_first(models: Models) -> None:
    models.put(1, "first")
    models.put(2)
    lifecycle = await models.start()
    models.gates[1] = asyncio.Event()
    unloading = asyncio.ensure_future(lifecycle.unload("m", 2))
    await eventually(lambda: ("m", 1) in models.loads)
    assert models.answer() == "good"
    models.gates[1].set()
    await unloading
    assert models.answer() == "first"
    assert models.state(2) == (State.END, None)


async def test_a_failed_load_tells_why_and_changes_nothing(models: Models) -> None:
    models.put(1)
    models.put(2, "broken")
    (models.root / "m" / "2").rename(models.root / "m" / "hidden")
    lifecycle = await models.start()
    (models.root / "m" / "hidden").rename(models.root / "m" / "2")
    with pytest.raises(ArtifactError, match="is broken"):
        await lifecycle.load("m", 2)
    assert models.live() == [1]
    with pytest.raises(NotFound, match="Could not find version 9 of model m"):
        await lifecycle.load("m", 9)
    with pytest.raises(NotFound, match="the repository has no model 'nope'"):
        await lifecycle.load("nope")
    with pytest.raises(NotFound, match="Could not find any versions of model nope"):
        await lifecycle.unload("nope")


async def test_nothing_outside_the_repository_is_loaded_on_request(models: Models, tmp_path: Path) -> None:
    models.put(1)
    lifecycle = await models.start()
    outside = Models(tmp_path / "outside")
    secret = outside.put(5)
    (models.root / "m" / "5").symlink_to(secret)
    (models.root / "link").symlink_to(secret.parent)
    with pytest.raises(InvalidInput, match="lies outside the model repository"):
        await lifecycle.load("m", 5)
    for name in ("link", "../outside/m", ".."):
        with pytest.raises(InvalidInput):
            await lifecycle.load(name)
    with pytest.raises(InvalidInput, match="lies outside the model repository"):
        await lifecycle.apply([config(models, base_path=secret.parent)])
    assert models.loads == [("m", 1)]


async def test_the_operator_may_allow_more(tmp_path: Path) -> None:
    models = Models(tmp_path / "models", model_roots=(tmp_path / "allowed",))
    models.put(1)
    lifecycle = await models.start()
    for name in ("allowed", "listed", "refused"):
        Models(tmp_path / name).put(1, name)
    with pytest.raises(InvalidInput, match="lies outside the model repository; model_roots in the settings"):
        await lifecycle.apply([config(models, base_path=tmp_path / "listed" / "m")])
    await lifecycle.apply([config(models, base_path=tmp_path / "allowed" / "m")])
    assert models.answer() == "allowed"
    await lifecycle.apply([config(models, base_path=tmp_path / "listed" / "m")], confined=False)
    assert models.answer() == "listed"
    # Requests may name what lies beside, and still nothing else.
    await lifecycle.apply([config(models, base_path=tmp_path / "listed" / "m")])
    with pytest.raises(InvalidInput, match="lies outside"):
        await lifecycle.apply([config(models, base_path=tmp_path / "refused" / "m")])


async def test_reload_reads_the_same_version_anew_while_the_old_answers(models: Models) -> None:
    directory = models.put(1, "old")
    lifecycle = await models.start()
    (directory / "model").write_text("new")
    await lifecycle.poll()
    assert models.answer() == "old"
    models.gates[1] = asyncio.Event()
    reloading = asyncio.ensure_future(lifecycle.reload("m"))
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
    lifecycle = await models.start()
    (directory / "model").write_text("broken")
    with pytest.raises(ArtifactError, match="is broken"):
        await lifecycle.reload("m")
    assert models.answer() == "old"
    # It is wanted still, so it is tried again when the file changes.
    (directory / "model").write_text("mended")
    await lifecycle.poll()
    assert models.answer() == "mended"


async def test_a_caller_who_gives_up_leaves_nothing_half_done(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
    models.put(2)
    models.gates[2] = asyncio.Event()
    loading = asyncio.ensure_future(lifecycle.load("m"))
    await eventually(lambda: ("m", 2) in models.loads)
    loading.cancel()
    await turns()
    assert loading.cancelled()
    models.gates[2].set()
    await eventually(lambda: models.live() == [2])


async def test_what_is_unloaded_while_it_loads_does_not_stay(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
    models.put(2)
    models.gates[2] = asyncio.Event()
    polling = asyncio.ensure_future(lifecycle.poll())
    await eventually(lambda: ("m", 2) in models.loads)
    unloading = asyncio.ensure_future(lifecycle.unload("m"))
    await turns()
    models.gates[2].set()
    await asyncio.gather(polling, unloading)
    assert models.live() == []


# ---- lists


async def test_a_new_list_wins(models: Models) -> None:
    for name in ("m", "other", "third"):
        models.put(1, name=name)
        models.put(2, name=name)
    lifecycle = await models.start()
    await lifecycle.apply([config(models, policy=All()), config(models, "third", policy=Specific((1,)))])
    assert (models.live(), models.live("other"), models.live("third")) == ([1, 2], [], [1])
    assert lifecycle.names() == ["m", "third"]
    # From now on the list says what is served, not the directory.
    models.put(3, name="other")
    models.put(3)
    await lifecycle.poll()
    assert (models.live(), models.live("other")) == ([1, 2, 3], [])
    await lifecycle.apply([])
    assert lifecycle.names() == []
    assert models.live() == []


async def test_a_wrong_list_changes_nothing(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
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
            await lifecycle.apply(configs)
    assert lifecycle.names() == ["m"]
    assert models.loads == [("m", 1)]
    models.put(2)
    await lifecycle.poll()
    assert models.live() == [2]


async def test_other_settings_and_other_paths_load_anew_without_a_gap(models: Models) -> None:
    models.put(1, "here")
    lifecycle = await models.start()
    elsewhere = Models(models.root)
    elsewhere.put(1, "there", name="m-copy")
    await lifecycle.apply([config(models)])
    assert models.loads == [("m", 1)], "nothing has changed"
    await lifecycle.apply([config(models, policy=Latest(2), labels={"stable": 1})])
    assert models.loads == [("m", 1)], "neither policy nor labels matter to what is loaded"
    models.gates[1] = asyncio.Event()
    applying = asyncio.ensure_future(lifecycle.apply([config(models, base_path=models.root / "m-copy")]))
    await eventually(lambda: len(models.loads) == 2)
    assert models.answer() == "here"
    models.gates[1].set()
    await applying
    assert models.answer() == "there"
    await lifecycle.apply([config(models, base_path=models.root / "m-copy", settings=ModelSettings(max_batch_size=4))])
    with models.manager.acquire("m") as servable:
        assert cast(Any, servable).settings.max_batch_size == 4


async def test_a_model_of_the_list_that_cannot_be_loaded_is_an_error_and_the_others_serve(models: Models) -> None:
    models.put(1)
    models.put(1, "broken", name="bad")
    lifecycle = models.open()
    with pytest.raises(FailedPrecondition, match=r"1 servable\(s\) did not become available: bad: .* is broken"):
        await lifecycle.apply([config(models, "bad"), config(models)])
    assert models.live() == [1]
    (models.root / "bad" / "1" / "model").write_text("mended")
    await lifecycle.poll()
    assert models.live("bad") == [1]


async def test_labels(models: Models) -> None:
    for version in (1, 2, 3):
        models.put(version)
    lifecycle = models.open()
    await lifecycle.start([config(models, policy=Specific((1, 2)), labels={"stable": 1})])
    assert lifecycle.version_of("m", "stable") == 1
    await lifecycle.apply([config(models, policy=Specific((1, 2)), labels={"stable": 1, "canary": 2, "new": 2})])
    assert lifecycle.version_of("m", "canary") == 2
    assert lifecycle.labels_of("m", 2) == ["canary", "new"]
    for name, label in (("m", "x"), ("nope", "stable")):
        with pytest.raises(InvalidInput, match=f"Unrecognized servable version label: {label}"):
            lifecycle.version_of(name, label)
    with pytest.raises(FailedPrecondition, match="assign label to version 3 of model m"):
        await lifecycle.apply([config(models, labels={"canary": 3})])
    assert lifecycle.version_of("m", "canary") == 2


async def test_new_labels_for_versions_that_are_not_loaded_where_allowed(tmp_path: Path) -> None:
    models = Models(tmp_path, allow_version_labels_for_unavailable_models=True)
    models.put(1)
    models.put(2)
    lifecycle = models.open()
    await lifecycle.start([config(models, policy=Specific((1,)), labels={"stable": 1})])
    await lifecycle.apply([config(models, policy=Specific((1,)), labels={"stable": 1, "canary": 2})])
    assert lifecycle.version_of("m", "canary") == 2
    # Only new labels: one that is in use must not be led astray.
    with pytest.raises(FailedPrecondition, match="assign label to version 2"):
        await lifecycle.apply([config(models, policy=Specific((1,)), labels={"stable": 2})])


# ---- the end


async def test_the_end_does_not_wait_for_what_is_being_loaded(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
    models.put(2)
    models.gates[2] = asyncio.Event()
    await lifecycle.begin_poll()
    await eventually(lambda: ("m", 2) in models.loads)
    assert lifecycle.loading
    await asyncio.wait_for(lifecycle.close(), 1)
    models.gates[2].set()
    await eventually(lambda: not lifecycle.loading)


async def test_what_is_unloaded_is_let_go_of(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
    with models.manager.acquire("m") as servable:
        gone = weakref.ref(servable)
    del servable
    await lifecycle.unload("m")
    gc.collect()
    assert gone() is None


async def test_the_status_of_a_server_that_lives_long_stays_short(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
    for version in range(2, 30):
        models.put(version)
        await lifecycle.poll()
    assert models.live() == [29]
    assert [status.version for status in models.manager.status("m")] == [21, 22, 23, 24, 25, 26, 27, 28, 29]


async def test_after_the_end_nothing_begins(models: Models) -> None:
    models.put(1)
    lifecycle = await models.start()
    await lifecycle.close()
    models.put(2)
    refused: list[Callable[[], Any]] = [
        lambda: lifecycle.load("m"),
        lambda: lifecycle.unload("m"),
        lambda: lifecycle.reload("m"),
        lambda: lifecycle.apply([]),
    ]
    for call in refused:
        with pytest.raises(Unavailable, match="shutting down"):
            await call()
    await lifecycle.poll()
    assert models.live() == [1]
    assert models.loads == [("m", 1)]
