"""Generates scenes: shapes of several colours and sizes on textured ground, with exact ground truth."""

from cvserve.data.scenes.describe import describe, phrase, relation
from cvserve.data.scenes.generator import SCENE_TASKS, Scene, Scenes
from cvserve.data.scenes.layout import SceneTask
from cvserve.data.scenes.options import ScenesOptions, open_scenes
from cvserve.data.scenes.shapes import COLORS, SHAPES, SIZES, SceneObject
from cvserve.data.scenes.writing import write_captions, write_coco, write_image_folder, write_mask_folder

__all__ = [
    "COLORS",
    "SCENE_TASKS",
    "SHAPES",
    "SIZES",
    "Scene",
    "SceneObject",
    "SceneTask",
    "Scenes",
    "ScenesOptions",
    "describe",
    "open_scenes",
    "phrase",
    "relation",
    "write_captions",
    "write_coco",
    "write_image_folder",
    "write_mask_folder",
]
