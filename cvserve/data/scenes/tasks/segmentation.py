"""Defines the scenes for segmentation: one to five objects on the ground, which is class 0."""

from cvserve.data.scenes.layout import SceneTask, several_objects

SCENE_TASK = SceneTask(
    number=2, image_size=128, layout=lambda index, rng: several_objects(1, 5, rng), background="ground"
)
