"""Generated scenes: shapes with colour, size and place on textured ground, and all that is true of them."""

from cvserve.data.scenes.coco import write_captions, write_coco
from cvserve.data.scenes.describe import describe, phrase, relation
from cvserve.data.scenes.folder import write_image_folder
from cvserve.data.scenes.generator import Scene, Scenes, ScenesOptions
from cvserve.data.scenes.layout import SceneObject
from cvserve.data.scenes.mask_folder import write_mask_folder
from cvserve.data.scenes.shapes import COLORS, SHAPES, SIZES

__all__ = [
    "COLORS",
    "SHAPES",
    "SIZES",
    "Scene",
    "SceneObject",
    "Scenes",
    "ScenesOptions",
    "describe",
    "phrase",
    "relation",
    "write_captions",
    "write_coco",
    "write_image_folder",
    "write_mask_folder",
]
