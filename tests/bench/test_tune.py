"""`cvserve tune`: which candidates are served, which one is chosen, and a settings file for the server."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tiny_artifact import publish_tiny

from cvserve.bench import TunePlan, tune
from cvserve.bench.baseline import CallPlan
from cvserve.bench.tuning import Candidate, Tried, choose, promising
from cvserve.errors import FailedPrecondition
from cvserve.serving import load_settings


def candidate(rate: float, batch: int, callers: int = 2, threads: int = 1, runtime: str = "onnx") -> Candidate:
    return Candidate(runtime, CallPlan(callers, threads, batch), rate)


def test_the_time_of_a_batch_while_all_workers_are_busy() -> None:
    assert candidate(rate=200, batch=4).batch_ms == pytest.approx(40)
    assert candidate(rate=200, batch=4, callers=1, threads=2).batch_ms == pytest.approx(20)


def test_the_best_batch_of_each_plan_within_the_limit_is_served() -> None:
    small, middle, large = candidate(200, 1), candidate(220, 2), candidate(260, 16)  # 10, 18 and 123 ms a batch
    wide = candidate(210, 2, callers=1, threads=2)
    slow = candidate(90, 1, runtime="tensorflow")
    screened = [small, middle, large, wide, slow]
    assert promising(screened, p99_ms=50, count=3) == [middle, wide, slow]
    assert promising(screened, p99_ms=50, count=1) == [middle]
    assert promising(screened, p99_ms=500, count=1) == [large]
    # Nothing is within the limit: the fastest candidate is served, which shows how far the limit is.
    assert promising(screened, p99_ms=1, count=3) == [wide]


def test_the_largest_rate_within_the_limit_is_chosen() -> None:
    one, other = candidate(200, 1), candidate(260, 16)
    tried = [
        Tried(one, clients=1, rate=90, p50=10, p99=14),
        Tried(one, clients=8, rate=190, p50=40, p99=49),
        Tried(one, clients=16, rate=195, p50=80, p99=95),
        Tried(other, clients=8, rate=240, p50=60, p99=110),
    ]
    assert choose(tried, 50) is tried[1]
    assert choose(tried, 200) is tried[3]
    with pytest.raises(FailedPrecondition, match=r"nothing keeps p99 within 10 ms here; the lowest is 14\.0 ms at 1"):
        choose(tried, 10)


@pytest.mark.slow
def test_a_small_search_writes_settings_that_the_server_takes(tmp_path: Path) -> None:
    model = publish_tiny(tmp_path / "colours", name="colors").directory.parent
    plan = TunePlan(2_000, batches=(1, 2), concurrency=(1, 2), finalists=1, rounds=1, seconds=0.2, screen_seconds=0.05)
    lines: list[str] = []
    result = tune(model, plan, say=lines.append)
    assert result.best.p99 <= 2_000
    assert result.best.rate == max(each.rate for each in result.tried)
    path = tmp_path / "serve.yaml"
    path.write_text(result.to_yaml())
    assert path.read_text().startswith("# Written by cvserve tune")
    assert yaml.safe_load(path.read_text())["models"]["colours"]["runtime"] == "onnx"
    settings = load_settings(path).of_model("colours")
    assert (settings.instances, settings.threads) == (
        result.best.candidate.call_plan.callers,
        result.best.candidate.call_plan.threads,
    )
    assert settings.max_queue_requests >= result.best.clients
    assert any("clients:" in line for line in lines)
