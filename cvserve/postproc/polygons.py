"""Turns masks into polygons along the edges of their pixels, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def to_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """Returns the outlines of a mask, bool or uint8 (0: outside) [H, W], exactly along pixel edges.

    Coordinates are those of boxes: (0, 0) is the top left corner of the top left pixel. Outer outlines turn clockwise
    on the screen, holes are outlines of their own that turn the other way, so that both rules of filling (even-odd and
    non-zero) give the mask again. Pixels that meet at a corner alone are not connected. COCO's own tools know no holes
    and would fill them: give them run lengths.

    Returns:
        int64 [N, 2] each, x and y of N corners, of which neighbours share x or y; the topmost outline first.
    """
    return class_polygons((np.asarray(mask) != 0).astype(np.uint8)).get(1, [])


def class_polygons(class_map: np.ndarray) -> dict[int, list[np.ndarray]]:
    """Returns the outlines of the mask of each class that occurs, by class, as `to_polygons` does.

    Args:
        class_map: uint8 [H, W].
    """
    if not class_map.size:
        return {}
    # Rows and columns like the ones before them have no corner: an enlarged map is as small as before.
    rows = np.flatnonzero(np.append(True, (class_map[1:] != class_map[:-1]).any(axis=1)))
    reduced = class_map[rows]
    columns = np.flatnonzero(np.append(True, (reduced[:, 1:] != reduced[:, :-1]).any(axis=0)))
    reduced = reduced[:, columns]
    at_y, at_x = np.append(rows, class_map.shape[0]), np.append(columns, class_map.shape[1])
    return {
        index: [np.stack([at_x[outline[:, 0]], at_y[outline[:, 1]]], axis=1) for outline in _outlines(reduced == index)]
        for index in np.unique(reduced).tolist()
    }


def _outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Returns the outlines of a mask, bool [H, W]; see `to_polygons`."""
    padded = np.pad(mask, 1)
    north_west, north_east, south_west, south_east = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    odd = north_west ^ north_east ^ south_west ^ south_east
    # Two pixels that meet in this corner alone: the outline passes it twice.
    twice = (north_west == south_east) & (north_east == south_west) & (north_west != north_east)
    y, x = np.nonzero(odd | twice)
    repeats = 1 + twice[y, x].astype(np.int64)
    falling = np.repeat(north_west[y, x], repeats)
    second = np.zeros(int(repeats.sum()), bool)
    second[np.cumsum(repeats)[repeats == 2] - 1] = True
    y, x = np.repeat(y, repeats), np.repeat(x, repeats)

    # Along each row and each column, an edge joins the first corner with the second, the third with the fourth, ...
    # Of a corner that is passed twice, the first pass comes from the left, and goes up to the pixel in the north west
    # or down to that in the south west.
    order = np.lexsort((second == falling, y, x)) if len(x) else np.zeros(0, np.int64)
    below = np.empty(len(x), np.int64)
    below[order[0::2]], below[order[1::2]] = order[1::2], order[0::2]
    partner = below.tolist()
    visited = bytearray(len(partner))
    outlines = []
    for start in range(0, len(partner), 2):
        if visited[start]:
            continue
        at = start
        corners: list[int] = []
        while not visited[at]:
            other = at ^ 1
            visited[at] = visited[other] = 1
            corners += (at, other)
            at = partner[other]
        outline = np.stack([x[corners], y[corners]], axis=1)
        # Every outline is followed to the right from its topmost corner, below which a hole is empty.
        is_hole = not south_east[y[start], x[start]]
        outlines.append(outline[::-1] if is_hole else outline)
    return outlines


def from_polygons(polygons: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Returns the pixels whose centres lie inside, by the even-odd rule: bool [H, W].

    Args:
        polygons: numbers [N, 2] each, x and y; closed from the last point to the first.
    """
    # Where a row's centre line crosses an edge, everything to the right of it is turned round.
    turns = np.zeros((height, width + 1), np.uint8)
    for polygon in polygons:
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        ends = np.roll(points, -1, axis=0)
        upper, lower = np.minimum(points[:, 1], ends[:, 1]), np.maximum(points[:, 1], ends[:, 1])
        first = np.clip(np.ceil(upper - 0.5), 0, height).astype(np.int64)
        last = np.clip(np.ceil(lower - 0.5), 0, height).astype(np.int64)
        rows = last - first
        edge = np.repeat(np.arange(len(points)), rows)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(rows) - rows, rows) + first[edge]
        (x0, y0), (x1, y1) = points[edge].T, ends[edge].T
        crossing = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
        np.add.at(turns, (row, column), 1)
    inside: np.ndarray = np.bitwise_xor.accumulate(turns & 1, axis=1)[:, :width] == 1
    return inside
