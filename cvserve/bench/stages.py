"""Reads the times of a request's stages in a server, from the metrics that it exports over HTTP."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections import defaultdict

_TIMEOUT_SECONDS = 10.0
_LINE = re.compile(r'cvserve_stage_seconds_(sum|count)\{[^}]*stage="([a-z]+)"[^}]*\} (\S+)')


def read_stages(address: str | None, path: str = "/monitoring/prometheus/metrics") -> dict[str, float]:
    """Returns the mean milliseconds of each stage since the server started; empty where they cannot be read.

    Args:
        address: "http://host:port", or None for a server without HTTP.
        path: the path of the metrics.
    """
    if address is None:
        return {}
    try:
        with urllib.request.urlopen(address + path, timeout=_TIMEOUT_SECONDS) as answer:
            text = answer.read().decode()
    except (OSError, urllib.error.URLError):
        return {}
    return mean_stages(text)


def mean_stages(text: str) -> dict[str, float]:
    """Returns the mean milliseconds of each stage from the text of the metrics, over all versions. Stages without a
    request are left out."""
    totals: dict[str, dict[str, float]] = defaultdict(lambda: {"sum": 0.0, "count": 0.0})
    for kind, stage, value in _LINE.findall(text):
        totals[stage][kind] += float(value)
    return {stage: total["sum"] / total["count"] * 1000 for stage, total in totals.items() if total["count"]}
