"""Defines the scenes for detection: one to five objects, whose shapes are the classes."""

from cvserve.data.scenes.layout import SceneTask, several_objects

SCENE_TASK = SceneTask(number=1, image_size=128, layout=lambda index, rng: several_objects(1, 5, rng))
