"""Instances and threads that are not set are measured once, and remembered."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from serving_kit import PuppetRuntime
from tiny_artifact import publish_tiny

from cvserve.artifact import Artifact
from cvserve.errors import ArtifactError
from cvserve.runtimes import remembering
from cvserve.runtimes.instances import InstancePlan
from cvserve.serving.core import choosing, loading, measuring
from cvserve.serving.core.batching.execution import entry_point
from cvserve.serving.core.measuring import Score, Trial, choose, lone_threads
from cvserve.serving.core.replicas import Placement
from cvserve.serving.core.settings import ModelSettings

MANY, WIDE, BOTH = InstancePlan(2, 1), InstancePlan(1, 2), InstancePlan(2, 2)


@pytest.fixture(autouse=True)
def cache(quick_measuring: Path) -> Path:
    return quick_measuring


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        # The better rate, whatever a lone image takes.
        ({MANY: Score(200, 0.012), WIDE: Score(170, 0.008)}, MANY),
        ({MANY: Score(170, 0.008), WIDE: Score(200, 0.012)}, WIDE),
        # With an equal rate, the faster lone image decides.
        ({MANY: Score(200, 0.012), WIDE: Score(170, 0.009), BOTH: Score(197, 0.009)}, BOTH),
        # With equal times of a lone image, the better rate decides.
        ({MANY: Score(200, 0.0100), BOTH: Score(199, 0.0098)}, MANY),
    ],
)
def test_rate_first_then_the_lone_image(scores: dict[InstancePlan, Score], expected: InstancePlan) -> None:
    assert choose(scores) == expected


def test_with_a_replica_for_lone_images_the_cpu_time_decides_among_equals() -> None:
    def score(rate: float, cpu: float) -> Score:
        return Score(rate, 0.009 if rate == 100 else 0.005, cpu=cpu)

    # A slightly better rate does not beat the plan that needs less CPU time.
    assert (
        choose({BOTH: score(100, 0.0135), MANY: score(91, 0.0126), WIDE: score(80, 0.010)}, lone_replica=True) == MANY
    )
    assert choose({BOTH: score(91, 0.0120), MANY: score(100, 0.0135)}, lone_replica=True) == BOTH
    # With equal CPU times, fewer threads decide, then the rate.
    assert choose({BOTH: score(100, 0.0120), MANY: score(95, 0.0123)}, lone_replica=True) == MANY
    assert choose({MANY: score(95, 0.0123), WIDE: score(100, 0.0120)}, lone_replica=True) == WIDE
    # Too slow, however cheap.
    assert choose({BOTH: score(100, 0.0120), MANY: score(89, 0.0060)}, lone_replica=True) == BOTH


def test_the_cpu_time_is_measured() -> None:
    def busy(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        end = time.thread_time() + 0.01
        while time.thread_time() < end:
            pass
        return {}

    def asleep(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        time.sleep(0.01)
        return {}

    trials = {"busy": Trial([busy], 1, True), "asleep": Trial([asleep], 1, True)}
    scores = measuring.race(trials, lambda: {"x": np.zeros((1, 1))}, 1)
    assert scores["busy"].cpu == pytest.approx(0.01, rel=0.3)
    assert scores["asleep"].cpu < 0.003


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        # The plan for load is slow with a lone image, which gets a replica with the threads of the fastest plan.
        ({MANY: Score(200, 0.012), WIDE: Score(170, 0.008)}, 2),
        ({MANY: Score(200, 0.012), WIDE: Score(170, 0.0119)}, None),
        # The plan is the fastest itself, or has as many threads.
        ({MANY: Score(200, 0.008), WIDE: Score(170, 0.012)}, None),
        ({BOTH: Score(200, 0.010), WIDE: Score(170, 0.008), MANY: Score(170, 0.012)}, None),
    ],
)
def test_a_replica_for_lone_images_where_it_is_faster(scores: dict[InstancePlan, Score], expected: int | None) -> None:
    assert lone_threads(scores, choose(scores)) == expected


def test_the_race_distinguishes_fast_and_slow_plans() -> None:
    """Graphs that sleep: 4 ms and 1 ms a call."""

    def graph(seconds: float):
        def run(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
            time.sleep(seconds)
            return {}

        return run

    def prepare() -> dict[str, np.ndarray]:
        return {"x": np.zeros((1, 1))}

    trials = {
        "slow": Trial([graph(0.004)], 1, decodes_in_worker=True),
        "two slow": Trial([graph(0.004)] * 2, 1, decodes_in_worker=True),
        "quick": Trial([graph(0.001)], 2, decodes_in_worker=False),
    }
    scores = measuring.race(trials, prepare, decoders=1)
    assert scores["slow"].rate < scores["two slow"].rate < scores["quick"].rate
    assert scores["quick"].lone < 0.004 <= scores["slow"].lone


class ManyThreadsPay(PuppetRuntime):
    """Stands for onnxruntime: calls run at the same time, and a call with one thread takes 20 ms."""

    name = "onnx"

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.seconds = 0.02 if threads == 1 else 0.0005

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        time.sleep(self.seconds)
        return super().run(inputs, outputs)


class Opener:
    """Counts the opened graphs."""

    def __init__(self) -> None:
        self.opened: list[tuple[int, PuppetRuntime]] = []

    def __call__(self, artifact: Artifact, settings: ModelSettings, placement: Placement) -> PuppetRuntime:
        self.opened.append((placement.threads, ManyThreadsPay(placement.threads)))
        return self.opened[-1][1]


def test_the_best_plan_is_served_and_the_others_are_closed(tmp_path: Path) -> None:
    opener = Opener()
    model = loading.load(publish_tiny(tmp_path / "m").directory, ModelSettings(max_batch_size=2), opener)
    assert (model.workers, model.threads) in ((1, 2), (2, 2)), "two threads are forty times as fast here"
    assert [threads for threads, _ in opener.opened] == [1, 2, 2], "plans with the same threads share a replica"
    assert [runtime.closed for _, runtime in opener.opened] == [True, True, False]
    model.close()


def test_a_replica_for_lone_requests_is_opened_remembered_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scores(
        trials: Mapping[tuple[InstancePlan, int], Trial], *_: object, **__: object
    ) -> dict[tuple[InstancePlan, int], Score]:
        many, other = Score(200, 0.012), Score(100, 0.008)
        return {(plan, rows): many if plan == MANY else other for plan, rows in trials}

    monkeypatch.setattr(choosing, "race", scores)
    directory = publish_tiny(tmp_path / "m").directory
    for opened_to_measure in (2, 0):
        opener = Opener()
        model = loading.load(directory, ModelSettings(max_batch_size=2), opener)
        assert (model.workers, model.threads) == (2, 1)
        assert "2 instances x 1 thread (2 threads for a lone request)" in model.describe()
        assert [threads for threads, _ in opener.opened[opened_to_measure:]] == [1, 2]
        copy = opener.opened[-1][1]
        assert model.lone == (copy, 2)
        assert copy.batch_sizes == [1], "it is warm"
        graph = model.graphs[0]
        inputs = {"images": np.zeros((1, *copy.inputs["images"].shape[1:]), np.uint8)}
        entry_point(graph, "serving_default", lone=True)(inputs, None)
        entry_point(graph, "serving_default")(inputs, None)
        assert copy.batch_sizes == [1, 1]
        model.close()
        assert all(runtime.closed for _, runtime in opener.opened)
    monkeypatch.setattr(choosing, "LONE_REPLICA_BYTES", 0)
    other = publish_tiny(tmp_path / "other").directory
    assert loading.load(other, ModelSettings(max_batch_size=1), Opener()).lone is None, "too large to have it twice"


@pytest.mark.parametrize(("pairs", "expected"), [(108.0, 1), (120.0, 2)])
def test_a_batch_that_gains_little_with_decoding_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: float, expected: int
) -> None:
    """Measured alone, the graphs are best with batches of 2; with decoding the gain must still be large enough."""
    monkeypatch.setattr(choosing, "good_batches", lambda *_, **__: (2, 1))

    def scores(
        trials: Mapping[tuple[InstancePlan, int], Trial], *_: object, **__: object
    ) -> dict[tuple[InstancePlan, int], Score]:
        assert {rows for _, rows in trials} == {1, 2}
        return {(plan, rows): Score(pairs if rows == 2 else 103.0, 0.01) for plan, rows in trials}

    monkeypatch.setattr(choosing, "race", scores)
    model = loading.load(publish_tiny(tmp_path / "m").directory, ModelSettings(), Opener())
    assert model.limits.max_rows == expected
    model.close()


def test_it_is_measured_once_for_all_versions_of_a_network(tmp_path: Path, cache: Path) -> None:
    first = loading.load(publish_tiny(tmp_path / "m").directory, ModelSettings(), Opener())
    again = Opener()
    second = loading.load(publish_tiny(tmp_path / "m").directory, ModelSettings(), again)
    assert len(again.opened) == 1 + (second.lone is not None), "nothing was opened to be measured"
    assert (second.workers, second.threads, second.limits) == (first.workers, first.threads, first.limits)
    (memory,) = cache.rglob("*.json")
    assert json.loads(memory.read_text())["runtime"] == "onnx"
    memory.write_text('{"instances": "many"}')
    damaged = Opener()
    loading.load(publish_tiny(tmp_path / "m").directory, ModelSettings(), damaged)
    assert len(damaged.opened) > 2, "with a damaged cache file it is measured again"


def test_what_was_measured_on_a_busy_machine_is_measured_again_later(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        choosing, "race", lambda trials, *_, **__: {trial: Score(100, 0.01, steady=0.5) for trial in trials}
    )
    directory = publish_tiny(tmp_path / "m").directory
    loading.load(directory, ModelSettings(), Opener())
    soon = Opener()
    loading.load(directory, ModelSettings(), soon)
    assert len(soon.opened) == 1
    monkeypatch.setattr(choosing, "UNSTEADY_SECONDS", -1.0)
    later = Opener()
    loading.load(directory, ModelSettings(), later)
    assert len(later.opened) == 3


def test_other_settings_are_measured_again(tmp_path: Path, cache: Path) -> None:
    directory = publish_tiny(tmp_path / "m").directory
    loading.load(directory, ModelSettings(), Opener())
    loading.load(directory, ModelSettings(max_batch_size=4), Opener())
    assert len(list(cache.rglob("*.json"))) == 2


def test_given_settings_are_not_measured(tmp_path: Path, cache: Path) -> None:
    opener = Opener()
    model = loading.load(publish_tiny(tmp_path / "m").directory, ModelSettings(threads=1, max_batch_size=2), opener)
    assert (model.workers, model.threads) == (2, 1)
    assert len(opener.opened) == 1
    assert not list(cache.rglob("*.json"))


def test_a_graph_that_fails_while_it_is_measured_fails_the_load_and_all_is_closed(tmp_path: Path) -> None:
    opener = Opener()

    def open_one(artifact: Artifact, settings: ModelSettings, placement: Placement) -> PuppetRuntime:
        runtime = opener(artifact, settings, placement)
        if placement.threads == 2:

            def run(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
                raise ArtifactError("the graph is broken")

            runtime.run = run  # type: ignore[method-assign]
        return runtime

    with pytest.raises(ArtifactError, match="the graph is broken"):
        loading.load(publish_tiny(tmp_path / "m").directory, ModelSettings(), open_one)
    assert all(runtime.closed for _, runtime in opener.opened)


def test_a_measurement_is_found_by_the_names_that_earlier_releases_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of the file is a hash of these names. With other names every model would be measured again."""
    keys: list[set[str]] = []

    def key_of(facts: dict[str, object]) -> str:
        keys.append(set(facts))
        return remembering.key_of(facts)

    monkeypatch.setattr(choosing, "key_of", key_of)
    loading.load(publish_tiny(tmp_path / "m").directory, ModelSettings(max_batch_size=2), Opener()).close()
    assert keys == [
        {"graphs", "picture", "rule", "processor", "accelerators", "cores", "settings", "versions"},
    ]
