"""`cvserve bench`: a small run of all parts, and the functions that compute the figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_artifact import publish_tiny

from cvserve.bench import BenchPlan, bench, draw_result, format_result
from cvserve.bench.baseline import CallPlan
from cvserve.bench.images import make_images, read_images, write_images
from cvserve.bench.measuring import alone_on_this_machine, call_plans
from cvserve.bench.processes import ServerProcess, ThreadTime, part_of, spent_between
from cvserve.bench.results import BaselineFigures, BenchResult, Lone, Overload, Point, Served
from cvserve.bench.stages import mean_stages
from cvserve.cli.main import main
from cvserve.errors import CvserveError, InvalidInput, NotFound

PLAN = BenchPlan(
    concurrency=(1, 3),
    rounds=1,
    seconds=0.2,
    warm_seconds=0.1,
    batches=(1, 2),
    overload_seconds=0.5,
    idle_seconds=0.3,
)


SPENT = {"workers": 7.2, "decoders": 0.0, "loop": 0.6, "rest": 0.2}


def made_up() -> BenchResult:
    """A result with invented figures, for tests of text, JSON and charts."""
    point = Point(
        8, rate=190, p50=40, p95=60, p99=80, server_cpu_ms=8, client_cpu_ms=0.5, to_baseline=0.95, parts=SPENT
    )
    over = Overload(600, 180, 0.947, 400, 800, 950, 4000, 0.8, 2.5, {"OK": 1800, "RESOURCE_EXHAUSTED": 4000}, 11)
    served = Served(
        {},
        ("m version 1: onnx, 2 instances x 1 thread",),
        (point,),
        300,
        Lone(9, 10.5, 1.17),
        over,
        0.25,
        {"queue": 3.0},
    )
    return BenchResult(
        model="m",
        version=1,
        runtime="onnx",
        cores=2,
        plan=BenchPlan(concurrency=(8,)),
        baseline=BaselineFigures(CallPlan(2, 1, 2), 200, 9.5),
        stages={"decode": 1.3, "run": 7.0, "postprocess": 0.1},
        screened={},
        graph={1: 250.0},
        servers={"served": served},
    )


@pytest.mark.slow
def test_a_small_run_measures_everything(tmp_path: Path) -> None:
    # Its manifest has another name: the directory was renamed.
    model = publish_tiny(tmp_path / "models" / "colours", name="colors").directory.parent
    lines: list[str] = []
    result = bench(model, PLAN, compare={"alone": {"batching": False}}, say=lines.append)
    assert (result.model, result.version, result.runtime) == ("colours", 1, "onnx")
    assert list(result.servers) == ["served", "alone"]
    assert result.baseline.rate > 0
    assert result.baseline.cpu_ms > 0
    assert set(result.stages) == {"decode", "run", "postprocess"}
    for served in result.servers.values():
        assert [point.clients for point in served.points] == [1, 3]
        assert all(point.rate > 0 and 0 < point.p50 <= point.p95 <= point.p99 for point in served.points)
        assert all(point.server_cpu_ms > 0 and point.client_cpu_ms > 0 for point in served.points)
        if Path("/proc/self/schedstat").exists():
            for point in served.points:
                assert min(point.parts[part] for part in ("workers", "loop", "rest")) > 0
                # The other figure counts in ticks of 10 ms, in a run of 0.3 s.
                assert sum(point.parts.values()) == pytest.approx(point.server_cpu_ms, rel=0.3, abs=1.0)
        assert served.lone is not None
        assert served.lone.ratio == pytest.approx(served.lone.served_ms / served.lone.pipeline_ms)
        assert served.memory_mib > 10
        assert served.overload is not None
        assert served.overload.good > 0
        assert served.overload.offered > served.overload.good / 2
        assert served.idle_percent is not None
        assert 0 <= served.idle_percent < 50
        assert {"decode", "queue", "run", "postprocess"} <= set(served.stages)
    assert "no batching" in " ".join(result.servers["alone"].lines)
    assert any(line.startswith("round 1 of 1: in process") for line in lines)
    assert json.loads(json.dumps(result.to_json()))["servers"]["served"]["points"][1]["clients"] == 3


@pytest.mark.slow
def test_grpc_clients_measure_the_same_server(tmp_path: Path) -> None:
    model = publish_tiny(tmp_path / "colours").directory
    plan = BenchPlan(
        concurrency=(2,), rounds=1, seconds=0.2, batches=(1,), overload_seconds=0, idle_seconds=0, client="grpc"
    )
    served = bench(model, plan, settings={"http_port": -1}).servers["served"]
    assert served.best.rate > 0
    assert served.lone is None, "one client was not measured"
    assert served.overload is None
    assert served.idle_percent is None
    assert served.stages == {}, "a server without HTTP shows no metrics"


@pytest.mark.parametrize(
    ("is_first", "name", "part"),
    [
        (True, "cvserve\n", "loop"),
        (True, "run flowers-1-0\n", "loop"),
        (False, "run flowers-1-0\n", "workers"),
        (False, "tf_Compute\n", "workers"),
        (False, "decode-1\n", "decoders"),
        (False, "event_engine\n", "rest"),
        (False, "running\n", "rest"),
    ],
)
def test_the_part_of_a_thread(is_first: bool, name: str, part: str) -> None:
    assert part_of(is_first, name) == part


def test_a_thread_that_ends_does_not_change_the_figures_of_the_others() -> None:
    before = {1: ThreadTime("loop", 10.0), 2: ThreadTime("rest", 5.0), 3: ThreadTime("workers", 1.0)}
    after = {1: ThreadTime("loop", 10.5), 3: ThreadTime("workers", 3.0), 4: ThreadTime("rest", 0.25)}
    assert spent_between(before, after) == {"workers": 2.0, "decoders": 0.0, "loop": 0.5, "rest": 0.25}
    assert spent_between({}, {}) == {}


def test_a_server_that_does_not_start_reports_the_reason(tmp_path: Path) -> None:
    model = publish_tiny(tmp_path / "colours").directory
    with pytest.raises(CvserveError, match=r"the server did not get ready: .*threads"):
        ServerProcess(model, {"threads": -1})


def test_the_table_has_wanted_and_measured_values() -> None:
    text = format_result(made_up())
    assert "2 callers x 1 threads, batch 2" in text
    assert "of the baseline from 8 clients on: 0.950 at least (wanted: 0.93 or more)" in text
    assert "one client: 10.5 ms, the pipeline itself 9.0 ms: 1.17 times (wanted: 1.25 or less)" in text
    assert "180/s answered in time, 0.95 of the best rate (wanted: 0.9 or more)" in text
    assert "rejects within 2.5 ms (p99; wanted: 5)" in text
    assert "RESOURCE_EXHAUSTED 4000" in text
    spent = "workers and graphs 7.20 ms, event loop 0.60 ms, gRPC and the rest 0.20 ms, clients 0.50 ms; in process 9.5"
    assert f"processor time per image at 8 clients: {spent}" in text
    assert "idle: 0.25 % of a core" in text
    assert "queue 3.00 ms" in text


def test_the_names_in_json_stay() -> None:
    content = made_up().to_json()
    assert content["ceiling"] == {"layout": {"callers": 2, "threads": 1, "batch": 2}, "rate": 200, "cpu_ms": 9.5}
    assert content["servers"]["served"]["points"][0]["to_ceiling"] == 0.95
    assert {"schema", "model", "plan", "stages", "screened", "graph"} < set(content)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_chart(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"chart{suffix}"
    draw_result(made_up(), path)
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    with pytest.raises(InvalidInput, match="a chart is written as"):
        draw_result(made_up(), tmp_path / "chart.doc")


def test_settings_that_do_not_fit_the_measurement_are_left_out() -> None:
    settings = {
        "threads": 2,
        "http_port": 8501,
        "tls": {"certificate": "a"},
        "tokens": "b",
        "models": {"flowers": {"instances": 1}, "birds": {}},
    }
    assert alone_on_this_machine(settings, "flowers") == {
        "threads": 2,
        "http_port": 0,
        "models": {"flowers": {"instances": 1}},
    }
    assert alone_on_this_machine({"http_port": -1}, "flowers") == {"http_port": -1}
    renamed = alone_on_this_machine({"models": {"flowers": {"instances": 1}}}, "flowers", "blossoms")
    assert renamed["models"] == {"blossoms": {"instances": 1}}


def test_only_plans_that_use_every_core_are_tried() -> None:
    assert [str(plan) for plan in call_plans(4, (1,))] == [
        "4 callers x 1 threads, batch 1",
        "1 callers x 4 threads, batch 1",
        "4 callers x 4 threads, batch 1",
    ]
    assert call_plans(1, (1, 2)) == [CallPlan(1, 1, 1), CallPlan(1, 1, 2)]


def test_the_images_are_the_same_every_time_or_the_users_own(tmp_path: Path) -> None:
    assert make_images(2) == make_images(2)
    assert all(80_000 < len(image) < 160_000 for image in make_images(2))
    (tmp_path / "own" / "deep").mkdir(parents=True)
    (tmp_path / "own" / "deep" / "b.jpg").write_bytes(b"second")
    (tmp_path / "own" / "a.PNG").write_bytes(b"first")
    (tmp_path / "own" / "notes.txt").write_bytes(b"no image")
    write_images(tmp_path / "sent", tmp_path / "own")
    assert read_images(tmp_path / "sent") == [b"first", b"second"]
    with pytest.raises(NotFound, match="there are no images in"):
        write_images(tmp_path / "sent", tmp_path / "nowhere")


def test_stages_are_means_over_all_versions() -> None:
    text = """
# TYPE cvserve_stage_seconds histogram
cvserve_stage_seconds_bucket{model="m",version="1",stage="run",le="0.005"} 3
cvserve_stage_seconds_sum{model="m",version="1",stage="run"} 0.010
cvserve_stage_seconds_count{model="m",version="1",stage="run"} 4
cvserve_stage_seconds_sum{model="m",version="2",stage="run"} 0.020
cvserve_stage_seconds_count{model="m",version="2",stage="run"} 2
cvserve_stage_seconds_sum{model="m",version="2",stage="queue"} 0
cvserve_stage_seconds_count{model="m",version="2",stage="queue"} 0
"""
    assert mean_stages(text) == {"run": pytest.approx(5.0)}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["bench", "{model}", "--set", "thread=2"], "unknown key 'thread'; did you mean 'threads'?"),
        (["bench", "{model}", "--compare", "thread=2"], "cvserve: error: the server's settings: unknown key 'thread'"),
        (["bench", "{model}", "--out", "{model}"], "it is a folder"),
        (["tune", "{model}", "--p99-ms", "5", "--out", "{model}"], "it is a folder"),
        (["bench", "{model}", "--chart", "bench.doc"], "a chart is written as .png, .svg, .pdf"),
        (["bench", "{model}", "--out", "/nowhere/bench.json"], "there is no folder /nowhere"),
        (["bench", "{model}", "--seconds", "0"], "--seconds must be more than 0"),
        (["bench", "{model}/nothing"], "nothing"),
        (["tune", "{model}", "--p99-ms", "0"], "the limit must be more than 0 ms"),
        (["tune", "{model}", "--p99-ms", "5", "--runtimes", "litert"], "litert cannot run"),
        (["tune", "{model}", "--p99-ms", "5", "--out", "/nowhere/serve.yaml"], "there is no folder /nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_a_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = publish_tiny(tmp_path / "colours").directory
    assert main([word.format(model=model) for word in words]) == 2
    assert sentence in capsys.readouterr().err
