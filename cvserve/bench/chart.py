"""Draws the result: rates beside the baseline, latencies, and the processor time per image by part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cvserve.bench.report import PART_TITLES
from cvserve.bench.results import BenchResult
from cvserve.errors import InvalidInput
from cvserve.extras import require

SUFFIXES = (".png", ".svg", ".pdf")


def check_chart_path(path: str | Path) -> None:
    """Checks that a chart can be written in the format of this path.

    Raises:
        InvalidInput: its suffix is not in `SUFFIXES`.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InvalidInput(f"a chart is written as {', '.join(SUFFIXES)}, not {path}")


def draw_result(result: BenchResult, path: str | Path) -> None:
    """Writes the chart to `path` (.png, .svg or .pdf).

    Raises:
        MissingExtra: matplotlib is not installed. InvalidInput: another suffix.
    """
    check_chart_path(path)
    require("matplotlib")
    # Not pyplot, which would search for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    rates, latencies, times = figure.subplots(1, 3)
    _rates(rates, result)
    _latencies(latencies, result)
    _times(times, result)
    figure.suptitle(f"{result.model} version {result.version}, {result.runtime}, {result.cores} cores")
    figure.savefig(path, dpi=120)


def _rates(axes: Any, result: BenchResult) -> None:
    axes.axhline(
        result.baseline.rate, color="black", linestyle="--", label=f"in process ({result.baseline.rate:.0f}/s)"
    )
    for name, served in result.servers.items():
        axes.plot([point.clients for point in served.points], [point.rate for point in served.points], "o-", label=name)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("images per second")
    _by_clients(axes, result)


def _latencies(axes: Any, result: BenchResult) -> None:
    for index, (name, served) in enumerate(result.servers.items()):
        clients = [point.clients for point in served.points]
        for style, percentile in (("-", "p50"), ("--", "p95"), (":", "p99")):
            values = [getattr(point, percentile) for point in served.points]
            axes.plot(clients, values, style, marker=".", color=f"C{index}", label=f"{name} {percentile}")
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds")
    _by_clients(axes, result)


def _by_clients(axes: Any, result: BenchResult) -> None:
    clients = list(result.plan.concurrency)
    axes.set_xscale("log", base=2)
    axes.set_xticks(clients, [str(count) for count in clients])
    axes.set_xlabel("clients")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _times(axes: Any, result: BenchResult) -> None:
    """Draws the processor time per image: of the pipeline, and of the parts of server and clients."""
    bars = [("in process", {"pipeline": result.baseline.cpu_ms})]
    for name, served in result.servers.items():
        best = served.best
        server = {PART_TITLES[part]: spent for part, spent in best.parts.items()} or {"server": best.server_cpu_ms}
        bars.append((name, {**server, "clients": best.client_cpu_ms}))
    colors: dict[str, str] = {}
    highest = 0.0
    for index, (_, parts) in enumerate(bars):
        bottom = 0.0
        for part, value in parts.items():
            if value <= 0:
                continue
            label = None if part in colors else part
            color = colors.setdefault(part, f"C{len(colors)}")
            axes.bar(index, value, bottom=bottom, color=color, label=label, width=0.6)
            bottom += value
        highest = max(highest, bottom)
    axes.set_ylim(0, highest * 1.5)  # room for the legend
    axes.set_xticks(range(len(bars)), [name for name, _ in bars])
    axes.set_ylabel("processor milliseconds per image")
    axes.legend(fontsize="small", loc="upper left", ncols=2)
