"""Measures how fast an artifact is served on this machine, and finds settings that keep within a latency limit.

    plan = BenchPlan(concurrency=(1, 8, 64), rounds=3)
    result = bench("models/flowers", plan)
    print(format_result(result))

The pipeline (`baseline`), the server and the clients (`clients`) run in their own processes. They are measured in
turns, in rounds, so that a change of the machine's speed affects all of them alike. Processor milliseconds per image
are given beside the rates, since they hardly change when other work keeps the machine busy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvserve.bench.chart import draw_result
    from cvserve.bench.measuring import bench
    from cvserve.bench.report import format_result
    from cvserve.bench.results import BenchPlan, BenchResult
    from cvserve.bench.tuning import TunePlan, TuneResult, tune

_MODULES = {
    "BenchPlan": "results",
    "BenchResult": "results",
    "TunePlan": "tuning",
    "TuneResult": "tuning",
    "bench": "measuring",
    "draw_result": "chart",
    "format_result": "report",
    "tune": "tuning",
}

__all__ = ["BenchPlan", "BenchResult", "TunePlan", "TuneResult", "bench", "draw_result", "format_result", "tune"]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _MODULES:
        return getattr(importlib.import_module(f"cvserve.bench.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'cvserve.bench' has no attribute {name!r}")
