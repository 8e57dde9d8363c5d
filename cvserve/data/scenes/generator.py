"""Generates images with exact ground truth for every task."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cvserve.data.objects import Objects
from cvserve.data.scenes.describe import describe
from cvserve.data.scenes.layout import SceneTask
from cvserve.data.scenes.render import boxes_of, render
from cvserve.data.scenes.shapes import SHAPES, SceneObject
from cvserve.data.splits import SPLITS
from cvserve.errors import InvalidInput
from cvserve.postproc.object_masks import ObjectMasks
from cvserve.tasks import TaskTable

SCENE_TASKS: TaskTable[SceneTask] = TaskTable("cvserve.data.scenes.tasks", "SCENE_TASK", what="generated data set")
"""The `SceneTask` of each task."""


@dataclass(frozen=True)
class Scene:
    """Holds one image and its ground truth for every task.

    image: uint8 RGB [S, S, 3]. objects: N of them, in the order of what follows. masks: bool [N, S, S], disjoint.
    boxes: float32 [N, 4] x1, y1, x2, y2 in pixels, tight around the masks, x2 and y2 past the last pixel. labels: int32
    [N], the shapes as indices into `SHAPES`. sentences: true captions, the most detailed one first.
    """

    image: np.ndarray
    objects: tuple[SceneObject, ...]
    masks: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    sentences: tuple[str, ...]

    @property
    def label(self) -> int:
        """Returns the shape of the object that covers most pixels, an index into `SHAPES`."""
        return int(self.labels[self.masks.sum(axis=(1, 2)).argmax()])

    @property
    def class_map(self) -> np.ndarray:
        """Returns the label map, uint8 [S, S]: 0 is ground, otherwise 1 + the label of the object there."""
        values = (self.labels + 1).astype(np.uint8)
        return (self.masks * values[:, None, None]).sum(axis=0, dtype=np.uint8)


@dataclass(frozen=True)
class Scenes:
    """Generates a split of scenes, as a data set of any task: shapes in colours and sizes on textured ground.

    Scene i depends on (seed, task, split, i) and the image's size, and on nothing else: not on `count`, nor on the
    process. Different splits share no scene.

    Args:
        count: number of scenes.
        seed: 0 or more.
        image_size: pixels per side, 32 to 1024; None takes 64 for classification and 128 for the other tasks.
        task: classification scenes hold one object of any size, nearly upright, whose shape is the class (as many of
            each class as possible); detection and segmentation scenes 1 to 5 objects, captioning scenes 1 to 3.
        split: "train", "val" or "test".

    Raises:
        InvalidInput: one of them is out of range.

    Example:
        scene = Scenes(count=10, task="detection").scene(0)
        print(scene.boxes, scene.sentences[0])
    """

    count: int
    seed: int = 0
    image_size: int | None = None
    task: str = "classification"
    split: str = "train"

    def __post_init__(self) -> None:
        if self.task not in SCENE_TASKS:
            raise InvalidInput(
                f"there are no scenes for the task {self.task!r}; the tasks are {', '.join(SCENE_TASKS.names())}"
            )
        if self.split not in SPLITS:
            raise InvalidInput(f"scenes have no split {self.split!r}; the splits are {', '.join(SPLITS)}")
        if self.count < 1:
            raise InvalidInput(f"the number of scenes must be at least 1, not {self.count}")
        if self.seed < 0:
            raise InvalidInput(f"the seed of scenes must be 0 or more, not {self.seed}")
        if not 32 <= self.side <= 1024:
            raise InvalidInput(f"the image size of scenes must be from 32 to 1024 pixels, not {self.side}")

    @property
    def side(self) -> int:
        """Returns the number of pixels per side of every image."""
        return self.image_size or self._task.image_size

    @property
    def classes(self) -> tuple[str, ...]:
        """Returns the shapes, sorted by name; of segmentation scenes "ground" before them."""
        return (*filter(None, (self._task.background,)), *SHAPES)

    def __len__(self) -> int:
        return self.count

    def scene(self, index: int) -> Scene:
        """Makes scene `index`; this takes about 2 ms at 64 x 64 pixels.

        Raises:
            IndexError: there is no scene of this number.
        """
        objects, rng = self._layout(index)
        image, masks = render(objects, self.side, rng)
        boxes = boxes_of(masks)
        labels = np.array([SHAPES.index(item.shape) for item in objects], np.int32)
        return Scene(image, objects, masks, boxes, labels, describe(objects, boxes))

    def image(self, index: int) -> np.ndarray:
        """Returns the image, uint8 RGB [S, S, 3]."""
        return _remembered(self, index).image.copy()

    def label(self, index: int) -> int:
        """Returns the shape of the largest object, an index into `classes`."""
        shape_of = self._task.shape
        return (self.scene(index).label if shape_of is None else shape_of(index)) + self._first_shape

    def objects(self, index: int) -> Objects:
        """Returns every object of the scene, with the area of its mask."""
        scene = _remembered(self, index)
        return Objects.of(scene.boxes, scene.labels + self._first_shape, areas=scene.masks.sum(axis=(1, 2)))

    def object_masks(self, index: int) -> ObjectMasks:
        """Returns the masks of `objects(index)`."""
        return ObjectMasks.of(_remembered(self, index).masks)

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [S, S]: indices into `classes` of segmentation scenes."""
        return _remembered(self, index).class_map

    @property
    def colors(self) -> tuple[tuple[int, int, int], ...]:
        """Returns no colours: the classes are shapes, of any colour."""
        return ()

    def captions(self, index: int) -> tuple[str, ...]:
        """Returns all sentences about the scene, the most detailed one first."""
        return _remembered(self, index).sentences

    def image_id(self, index: int) -> int:
        """Returns the number of the image in COCO files: index + 1."""
        return index + 1

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Returns the number of each class in COCO files: 1 for the first shape, and so on; 0 for the ground."""
        return tuple(range(1 - self._first_shape, len(SHAPES) + 1))

    def name(self, index: int) -> str:
        """Returns the name of the image in reports, for example "scenes/train/000012"."""
        return f"scenes/{self.split}/{index:06d}"

    def describe(self) -> str:
        """Returns one line: task, split, number, size, seed and classes."""
        return (
            f"scenes:{self.task} {self.split}: {self.count} generated images of {self.side} x {self.side}, seed "
            f"{self.seed}, in {len(self.classes)} classes ({', '.join(self.classes)})"
        )

    @property
    def _first_shape(self) -> int:
        """Returns the index of the first shape in `classes`."""
        return len(self.classes) - len(SHAPES)

    @property
    def _task(self) -> SceneTask:
        return SCENE_TASKS[self.task]

    def _layout(self, index: int) -> tuple[tuple[SceneObject, ...], np.random.Generator]:
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        key = (self.seed, self._task.number, SPLITS.index(self.split), index)
        layout_rng, render_rng = np.random.default_rng(key).spawn(2)
        return self._task.layout(index, layout_rng), render_rng


@lru_cache(maxsize=32)
def _remembered(scenes: Scenes, index: int) -> Scene:
    """Keeps the last scenes, since a pipeline asks for the objects of an image right after its pixels."""
    return scenes.scene(index)
