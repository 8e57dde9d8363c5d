"""Defines the scenes for classification: one object of any size, nearly upright, whose shape is the class."""

from cvserve.data.scenes.layout import SceneTask, single_object
from cvserve.data.scenes.shapes import SHAPES


def _shape(index: int) -> int:
    """Takes the shapes in turn, so that there are as many images of each class as possible."""
    return index % len(SHAPES)


SCENE_TASK = SceneTask(
    number=0, image_size=64, layout=lambda index, rng: single_object(SHAPES[_shape(index)], rng), shape=_shape
)
