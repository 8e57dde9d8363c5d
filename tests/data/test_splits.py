"""Splits by content: the position of a file, and what fractions make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cvserve.data.splits import SplitFractions, content_position


def test_position_depends_on_content_alone(tmp_path: Path) -> None:
    one, other, third = tmp_path / "a.jpg", tmp_path / "b.png", tmp_path / "c.jpg"
    one.write_bytes(b"pixels")
    other.write_bytes(b"pixels")
    third.write_bytes(b"pixelz")
    assert content_position(one) == content_position(other) != content_position(third)


def test_position_never_changes(tmp_path: Path) -> None:
    # Fixed for good: another value would move every image of every user.
    path = tmp_path / "a"
    path.write_bytes(b"cvserve")
    assert content_position(path) == 0.21162678249199007


@pytest.mark.parametrize("place", [0, 150_000, 299_999])
def test_large_files_differ_by_start_middle_and_end(tmp_path: Path, place: int) -> None:
    data = bytearray(np.random.default_rng(0).bytes(300_000))
    (tmp_path / "a").write_bytes(data)
    data[place] ^= 1
    (tmp_path / "b").write_bytes(data)
    assert content_position(tmp_path / "a") != content_position(tmp_path / "b")


def test_positions_are_uniform(tmp_path: Path) -> None:
    positions = []
    for number in range(500):
        path = tmp_path / "file"
        path.write_bytes(str(number).encode())
        positions.append(content_position(path))
    counts, _ = np.histogram(positions, bins=10, range=(0, 1))
    # 50 a tenth; the standard deviation is 6.7.
    assert np.abs(counts - 50).max() < 5 * 6.7


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_new_fraction_of_test_moves_nothing_from_val(position: float, val: float, test: float, other: float) -> None:
    before = SplitFractions(train=1 - val - test, val=val, test=test).split_at(position)
    after = SplitFractions(train=1 - val - other, val=val, test=other).split_at(position)
    assert (before == "val") == (after == "val")


def test_fractions_add_up() -> None:
    with pytest.raises(ValidationError, match=r"must add up to 1, not 1\.1"):
        SplitFractions(train=0.8, val=0.2, test=0.1)
