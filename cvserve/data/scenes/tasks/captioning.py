"""Defines the scenes for captioning: one to three objects, of which no sentence is in doubt."""

from cvserve.data.scenes.layout import SceneTask, describable_objects

SCENE_TASK = SceneTask(
    number=3, image_size=128, layout=lambda index, rng: describable_objects(1, 3, rng), has_classes=False
)
