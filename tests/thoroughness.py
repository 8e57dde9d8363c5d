"""Of tests that say the same of many networks, the few that every run makes; `make test-all` makes the others too."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def each(names: Iterable[str], *, always: Collection[str]) -> list[Any]:
    """Parameters of a test: those of `always` in every run."""
    names = list(names)
    unknown = set(always) - set(names)
    assert not unknown, f"{sorted(unknown)} are none of {names}"
    return [name if name in always else pytest.param(name, marks=pytest.mark.thorough) for name in names]
