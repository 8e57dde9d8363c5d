"""Holds the masks of an image's objects as COCO's run lengths: a few hundred bytes each, whatever the image's size.

Needs numpy alone, since the client reads them too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvserve.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class ObjectMasks:
    """Holds the masks of N objects.

    counts: int64 [R] of each, how many pixels are outside, inside, outside, ... down the columns, column by column, as
    COCO counts them (see `cvserve.postproc.masks`). height, width: of the image, pixels.

    Raises:
        InvalidInput: counts that are not those of a mask of this size.
    """

    counts: tuple[np.ndarray, ...]
    height: int
    width: int

    def __post_init__(self) -> None:
        for counts in self.counts:
            total = int(np.sum(counts))
            if total != self.height * self.width or np.min(counts, initial=0) < 0:
                raise InvalidInput(
                    f"run lengths of {total} pixels are not those of a mask of {self.width} x {self.height}"
                )

    @classmethod
    def of(cls, masks: np.ndarray) -> ObjectMasks:
        """Makes an `ObjectMasks` of masks, bool [N, H, W]."""
        height, width = masks.shape[1:]
        return cls(tuple(placed_run_lengths(mask, 0, 0, height, width) for mask in masks), height, width)

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, chosen: np.ndarray | slice) -> ObjectMasks:
        """Returns the masks that a boolean array [N], an array of indices or a slice selects."""
        places = np.arange(len(self.counts))[chosen].tolist()
        return ObjectMasks(tuple(self.counts[place] for place in places), self.height, self.width)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObjectMasks):
            return NotImplemented
        return (self.height, self.width, len(self)) == (other.height, other.width, len(other)) and all(
            np.array_equal(counts, other_counts) for counts, other_counts in zip(self.counts, other.counts, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def areas(self) -> np.ndarray:
        """Returns the number of pixels of each mask: int64 [N]."""
        return np.array([counts[1::2].sum() for counts in self.counts], np.int64)

    def mask(self, index: int) -> np.ndarray:
        """Returns one mask in the image's size: bool [H, W]."""
        mask = np.zeros((self.height, self.width), bool)
        left, top, crop = self.crop(index)
        mask[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        return mask

    def crop(self, index: int) -> tuple[int, int, np.ndarray]:
        """Returns left, top and bool [h, w]: one mask without its empty border; 0 x 0 if it has no pixels."""
        counts = self.counts[index]
        ends = np.cumsum(counts)
        starts, stops = (ends - counts)[1::2], ends[1::2]
        some = stops > starts
        starts, stops = starts[some], stops[some]
        if not len(starts):
            return 0, 0, np.zeros((0, 0), bool)
        first, last = int(starts[0]) // self.height, (int(stops[-1]) - 1) // self.height
        # Only the columns that it has are written out.
        edges = np.stack([starts, stops], axis=1).reshape(-1) - first * self.height
        lengths = np.diff(edges, prepend=0, append=(last + 1 - first) * self.height)
        columns = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(-1, self.height)
        rows = np.flatnonzero(columns.any(axis=0))
        return first, int(rows[0]), np.ascontiguousarray(columns[:, rows[0] : rows[-1] + 1].T)


def placed_run_lengths(crop: np.ndarray, left: int, top: int, height: int, width: int) -> np.ndarray:
    """Returns COCO's counts, int64 [R], of a mask of height x width pixels: the crop, bool [h, w], at left and top."""
    columns = np.pad(np.asarray(crop, bool).T, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(columns, axis=1)
    column, row = np.nonzero(steps == 1)
    if not len(row):
        return np.array([height * width], np.int64)
    starts = (left + column) * height + top + row
    column, row = np.nonzero(steps == -1)
    stops = (left + column) * height + top + row
    # A run that reaches the last row goes on in the next column, if that begins with one.
    meets = starts[1:] == stops[:-1]
    starts, stops = starts[np.append(True, ~meets)], stops[np.append(~meets, True)]
    edges = np.stack([starts, stops], axis=1).reshape(-1)
    counts = np.diff(edges, prepend=0)
    rest = height * width - int(edges[-1])
    return np.append(counts, rest) if rest else counts
