"""Sentences about scenes, compared with the pixels of the masks."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

from cvserve.data import Scene, Scenes
from cvserve.data.scenes import COLORS, SHAPES, SIZES, describe, relation
from cvserve.data.scenes.describe import is_beyond_doubt

PHRASE = re.compile(rf"a (?:({'|'.join(SIZES)}) )?({'|'.join(COLORS)}) ({'|'.join(SHAPES)})")
RELATION = re.compile(rf"^({PHRASE.pattern}) (left of|right of|above|below) ({PHRASE.pattern})$")


def find(scene: Scene, phrase: str) -> int:
    """The one object that the phrase names."""
    size, color, shape = PHRASE.fullmatch(phrase).groups()
    named = [
        index
        for index, item in enumerate(scene.objects)
        if (item.color, item.shape) == (color, shape) and size in (None, item.size)
    ]
    assert len(named) == 1, (phrase, scene.objects)
    return named[0]


def columns(mask: np.ndarray) -> np.ndarray:
    return np.nonzero(mask)[1]


def rows(mask: np.ndarray) -> np.ndarray:
    return np.nonzero(mask)[0]


def holds(word: str, one: np.ndarray, other: np.ndarray) -> bool:
    """Whether every pixel of `one` lies on that side of every pixel of `other`."""
    return {
        "left of": lambda: columns(one).max() < columns(other).min(),
        "right of": lambda: columns(one).min() > columns(other).max(),
        "above": lambda: rows(one).max() < rows(other).min(),
        "below": lambda: rows(one).min() > rows(other).max(),
    }[word]()


@pytest.mark.parametrize("task", ["classification", "captioning", "detection"])
def test_every_sentence_is_true_and_names_single_objects(task: str) -> None:
    scenes = Scenes(200, seed=5, image_size=64, task=task)
    seen: set[str] = set()
    for index in range(len(scenes)):
        scene = scenes.scene(index)
        assert len(set(scene.sentences)) == len(scene.sentences) > 0
        for sentence in scene.sentences:
            match = RELATION.match(sentence)
            if match:
                word = match[5]
                one, other = find(scene, match[1]), find(scene, match[6])
                assert one != other
                assert holds(word, scene.masks[one], scene.masks[other]), (index, sentence)
                seen.add(word)
                continue
            # A list: it names all objects once, in the order that it claims.
            ending = next((e for e in (" from left to right", " from top to bottom") if sentence.endswith(e)), "")
            phrases = re.split(", | and ", sentence.removesuffix(ending))
            order = [find(scene, phrase) for phrase in phrases]
            assert sorted(order) == list(range(len(scene.objects))), sentence
            word = {" from left to right": "left of", " from top to bottom": "above"}.get(ending)
            if word:
                for one, other in pairwise(order):
                    assert holds(word, scene.masks[one], scene.masks[other]), (index, sentence)
            seen.add(ending or f"list of {min(len(order), 3)}")
    if task == "captioning":
        assert seen == {
            *("left of", "right of", "above", "below", " from left to right", " from top to bottom"),
            *("list of 1", "list of 2", "list of 3"),
        }


def test_captioning_names_sizes() -> None:
    for index in range(20):
        first = Scenes(20, image_size=32, task="captioning").scene(index).sentences[0]
        assert all(match[1] for match in PHRASE.finditer(first)), first


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0, 10, 10), (20, 0, 30, 10), "left of"),
        ((20, 0, 30, 10), (0, 0, 10, 10), "right of"),
        ((0, 0, 10, 10), (0, 20, 10, 30), "above"),
        ((0, 20, 10, 30), (0, 0, 10, 10), "below"),
        ((0, 0, 10, 10), (20, 20, 30, 30), None),  # oblique
        ((0, 0, 10, 10), (20, 10, 30, 20), "left of"),  # exactly twice as far across
        ((0, 0, 10, 10), (20, 11, 30, 21), None),
        ((0, 0, 10, 10), (10, 0, 20, 10), "left of"),  # touching
        ((0, 0, 11, 10), (10, 0, 20, 10), None),  # overlapping by a column
    ],
)
def test_relation(one: tuple, other: tuple, expected: str | None) -> None:
    assert relation(np.array(one, np.float32), np.array(other, np.float32)) == expected


def test_no_word_of_a_captioning_scene_depends_on_one_pixel() -> None:
    """Any side of any box, a pixel further out or in: the same sentences."""
    scenes = Scenes(150, task="captioning")
    several = 0
    for index in range(len(scenes)):
        scene = scenes.scene(index)
        several += len(scene.objects) > 1
        for place in np.ndindex(scene.boxes.shape):
            for step in (-1, 1):
                moved = scene.boxes.copy()
                moved[place] += step
                assert describe(scene.objects, moved) == scene.sentences, (index, place, step)
    assert several > 75


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([(0.1, 0.4, 0.3, 0.6)], True),
        ([(0.1, 0.4, 0.3, 0.6), (0.5, 0.42, 0.7, 0.62)], True),  # left of
        ([(0.1, 0.4, 0.3, 0.6), (0.305, 0.42, 0.5, 0.62)], False),  # all but touching
        ([(0.1, 0.1, 0.2, 0.2), (0.5, 0.3, 0.6, 0.4)], False),  # exactly twice as far across
        ([(0.1, 0.1, 0.2, 0.2), (0.5, 0.5, 0.6, 0.6)], True),  # oblique
        ([(0.1, 0.1, 0.3, 0.3), (0.11, 0.7, 0.3, 0.9)], False),  # which of them is named first?
        ([(0.1, 0.4, 0.2, 0.5), (0.4, 0.4, 0.5, 0.5), (0.7, 0.4, 0.8, 0.5)], True),  # from left to right
        ([(0.1, 0.1, 0.4, 0.2), (0.395, 0.4, 0.6, 0.5), (0.7, 0.8, 0.8, 0.9)], False),  # or not
    ],
)
def test_what_is_beyond_doubt(boxes: list[tuple[float, ...]], expected: bool) -> None:
    assert is_beyond_doubt(np.array(boxes)) is expected
