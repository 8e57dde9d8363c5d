"""Writes the result as text, with the wanted value beside each figure."""

from __future__ import annotations

from collections.abc import Iterator

from cvserve.bench.results import BenchResult, Point, Served
from cvserve.console import format_table

WANTED_TO_BASELINE = 0.93
"""The wanted fraction of the baseline from 8 clients on. A bare grpc.aio server with two sessions of one thread reaches
0.925 on 2 cores."""

FROM_CLIENTS = 8
WANTED_LONE = 1.25
WANTED_UNDER_OVERLOAD = 0.9
WANTED_REJECT_MS = 5.0
WANTED_IDLE_PERCENT = 1.0

PART_TITLES = {
    "workers": "workers and graphs",
    "decoders": "decoding threads",
    "loop": "event loop",
    "rest": "gRPC and the rest",
}

SMALLEST_SHOWN_MS = 0.005
"""Parts of the server with fewer processor milliseconds per image are not shown."""


def format_result(result: BenchResult) -> str:
    """Returns the tables and sentences that `cvserve bench` prints."""
    plan, baseline = result.plan, result.baseline
    parts = [
        f"{result.model} version {result.version}, {result.runtime}, {result.cores} cores, "
        f"{plan.rounds} rounds of {plan.seconds:g} s, {plan.client} clients",
        f"in process: {baseline.rate:.1f} images/s, {baseline.cpu_ms:.2f} ms of processor time per image "
        f"({baseline.call_plan}); one alone: "
        + ", ".join(f"{name} {milliseconds:.2f} ms" for name, milliseconds in result.stages.items()),
    ]
    for name, served in result.servers.items():
        best = served.best
        by_time = baseline.cpu_ms / (best.server_cpu_ms + best.client_cpu_ms) if best.server_cpu_ms else None
        parts += ["", _points(name, served)]
        if by_time is not None:
            parts.append(
                f"of the baseline by processor time, the clients' included: {by_time:.3f} at {best.clients} clients"
            )
        if best.parts:
            spent = f"{_spent(best)}; in process {baseline.cpu_ms:.2f} ms"
            parts.append(f"processor time per image at {best.clients} clients: {spent}")
        parts += _sentences(served)
    return "\n".join(parts)


def _spent(point: Point) -> str:
    spent = {PART_TITLES[part]: spent for part, spent in point.parts.items() if spent >= SMALLEST_SHOWN_MS}
    return ", ".join(
        f"{name} {milliseconds:.2f} ms" for name, milliseconds in (*spent.items(), ("clients", point.client_cpu_ms))
    )


def _points(name: str, served: Served) -> str:
    how = next((line for line in served.lines if "instance" in line), "")
    rows = [
        (
            point.clients,
            f"{point.rate:.1f}",
            f"{point.to_baseline:.3f}",
            f"{point.p50:.1f}",
            f"{point.p95:.1f}",
            f"{point.p99:.1f}",
            f"{point.server_cpu_ms:.2f}",
            f"{point.client_cpu_ms:.2f}",
        )
        for point in served.points
    ]
    columns = ("clients", "images/s", "of baseline", "p50 ms", "p95 ms", "p99 ms", "CPU ms", "client CPU ms")
    return format_table(rows, columns, title=f"{name}: {how}" if how else name)


def _sentences(served: Served) -> Iterator[str]:
    many = [point.to_baseline for point in served.points if point.clients >= FROM_CLIENTS]
    if many:
        wanted = _wanted(WANTED_TO_BASELINE)
        yield f"of the baseline from {FROM_CLIENTS} clients on: {min(many):.3f} at least ({wanted} or more)"
    if served.lone is not None:
        lone = served.lone
        yield (
            f"one client: {lone.served_ms:.1f} ms, the pipeline itself {lone.pipeline_ms:.1f} ms: {lone.ratio:.2f} "
            f"times ({_wanted(WANTED_LONE)} or less)"
        )
    over = served.overload
    if over is not None:
        yield (
            f"overload: {over.offered:.0f}/s offered, {over.good:.0f}/s answered in time, {over.to_capacity:.2f} of "
            f"the best rate ({_wanted(WANTED_UNDER_OVERLOAD)} or more), p99 {_ms(over.p99)}"
        )
        codes = ", ".join(f"{code} {count}" for code, count in sorted(over.codes.items()))
        yield (
            f"  rejects within {_ms(over.reject_p99)} (p99; {_wanted(WANTED_REJECT_MS)}), median "
            f"{_ms(over.reject_p50)}; {codes}; one request right afterwards {_ms(over.lone_ms)}"
        )
    if served.idle_percent is not None:
        yield f"idle: {served.idle_percent:.2f} % of a core ({_wanted(WANTED_IDLE_PERCENT)} at most)"
    if served.stages:
        stages = ", ".join(f"{name} {milliseconds:.2f} ms" for name, milliseconds in served.stages.items())
        yield f"stages, mean of all requests: {stages}"
    yield f"memory: {served.memory_mib:.0f} MiB (PSS)"


def _wanted(value: float) -> str:
    return f"wanted: {value:g}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
