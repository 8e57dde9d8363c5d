"""Writes true sentences about a scene. Every phrase in them names exactly one object of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cvserve.data.scenes.shapes import SceneObject

DOUBT = 0.02
"""A fraction of the image's side: sentences that would change if boxes were larger or smaller by it are in doubt."""

_DISTINCT = 2.0
"""Two boxes have a relation where they are so many times as far apart along an axis as across it."""
_RATIOS_IN_DOUBT = (1.7, 2.4)

_INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def phrase(item: SceneObject) -> str:
    """Returns "a large red circle", or "a red circle" for an object without a named size."""
    return " ".join(["a", *filter(None, (item.size, item.color, item.shape))])


def relation(one: np.ndarray, other: np.ndarray, distinct: float = _DISTINCT) -> str | None:
    """Returns where box `one` is from box `other`: "left of", "right of", "above", "below", or None.

    A word is used only where it is certain: the boxes do not overlap along its axis, and the centres are at
    least twice (`distinct` times) as far apart along it as across it. Oblique neighbours have no relation.

    Args:
        one, other: x1, y1, x2, y2.
    """
    across, down = (other[:2] + other[2:] - one[:2] - one[2:]) / 2
    if abs(across) >= distinct * abs(down):
        if one[2] <= other[0]:
            return "left of"
        if other[2] <= one[0]:
            return "right of"
    if abs(down) >= distinct * abs(across):
        if one[3] <= other[1]:
            return "above"
        if other[3] <= one[1]:
            return "below"
    return None


def describe(objects: Sequence[SceneObject], boxes: np.ndarray) -> tuple[str, ...]:
    """Returns all sentences about the scene, the most detailed one first.

    Two objects: "a large red circle left of a small blue square", and the same the other way round; "... and ..."
    where they have no relation. Three or more: all of them in order ("..., ... and ... from left to right", or "from
    top to bottom", where their boxes do not overlap along that axis), then each pair that has a relation.

    Args:
        objects: no two with the same size, colour and shape.
        boxes: float32 [N, 4] x1, y1, x2, y2.
    """
    if len(objects) == 1:
        return (phrase(objects[0]),)
    order = sorted(range(len(objects)), key=lambda index: (boxes[index, 0] + boxes[index, 2], boxes[index, 1]))
    pairs: list[str] = []
    for position, first in enumerate(order):
        for second in order[position + 1 :]:
            pairs += _both_ways(objects[first], objects[second], relation(boxes[first], boxes[second]))
    if len(objects) == 2 and pairs:
        return tuple(pairs)
    return (_in_order(objects, boxes, order), *pairs)


def _both_ways(one: SceneObject, other: SceneObject, word: str | None) -> list[str]:
    if word is None:
        return []
    if word == "below":
        one, other, word = other, one, "above"
    return [f"{phrase(one)} {word} {phrase(other)}", f"{phrase(other)} {_INVERSE[word]} {phrase(one)}"]


def _in_order(objects: Sequence[SceneObject], boxes: np.ndarray, order: list[int]) -> str:
    ending = ""
    downwards = sorted(order, key=lambda index: boxes[index, 1])
    if len(objects) > 2:
        if _clear(boxes[order], axis=0):
            ending = " from left to right"
        elif _clear(boxes[downwards], axis=1):
            order, ending = downwards, " from top to bottom"
    phrases = [phrase(objects[index]) for index in order]
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}{ending}"


def _clear(boxes: np.ndarray, axis: int) -> bool:
    """Returns whether each box ends before the next begins along this axis."""
    return bool(np.all(boxes[:-1, axis + 2] <= boxes[1:, axis]))


def is_beyond_doubt(boxes: np.ndarray) -> bool:
    """Returns whether a pixel more or less would not change what `describe` says: the relations and the order.

    Args:
        boxes: float [N, 4] x1, y1, x2, y2 as fractions of the image's side.
    """
    outwards = np.array([-DOUBT, -DOUBT, DOUBT, DOUBT]) / 2
    larger, smaller = boxes + outwards, boxes - outwards
    strict, mild = max(_RATIOS_IN_DOUBT), min(_RATIOS_IN_DOUBT)
    for first in range(len(boxes)):
        for second in range(first):
            if relation(larger[first], larger[second], strict) != relation(smaller[first], smaller[second], mild):
                return False
    if np.any(np.diff(np.sort(boxes[:, 0] + boxes[:, 2]) / 2) < DOUBT):
        return False
    for axis in (0, 1):
        order = np.argsort(boxes[:, axis])
        if len(boxes) > 2 and _clear(larger[order], axis) != _clear(smaller[order], axis):
            return False
    return True
