"""How fast an artifact is served on this machine, beside what the machine could do at best; and settings for a limit.

    plan = BenchPlan(concurrency=(1, 8, 64), rounds=3)
    result = bench("models/flowers", plan)
    print(format_result(result))

Every measured thing runs in a process of its own: the pipeline (`inside`), the server, the clients (`clients`). They
take turns in rounds, so that a change of the machine's mood meets all of them, and processor milliseconds an image
stand beside the rates, since those hold also while something else keeps the machine busy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvserve.bench.chart import draw_result
    from cvserve.bench.measuring import bench
    from cvserve.bench.report import format_result
    from cvserve.bench.results import BenchPlan, BenchResult
    from cvserve.bench.tuning import TunePlan, TuneResult, tune

_HOMES = {
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

    if name in _HOMES:
        return getattr(importlib.import_module(f"cvserve.bench.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'cvserve.bench' has no attribute {name!r}")
