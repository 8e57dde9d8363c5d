"""Finds networks by task and name, describes and builds them.

Networks are the modules of `cvserve.models.<task>`, and whatever else has been registered; every backbone is a
classifier as well. The modules are imported when a network of their task is first asked for, TensorFlow with them.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

from cvserve.artifact import PreprocSpec
from cvserve.errors import InvalidInput
from cvserve.models.registry import Built, ModelEntry, build_entry, registered
from cvserve.models.scan import import_modules
from cvserve.models.tasks import MODEL_TASKS
from cvserve.settings import nearest

if TYPE_CHECKING:
    import keras


def load_networks(task: str | None = None) -> None:
    """Imports the networks of `task` (of all tasks if None); Keras knows their layers afterwards, as loading needs."""
    # Each backbone registers a classifier, too.
    import_modules("cvserve.models.backbones")
    for name in MODEL_TASKS.names() if task is None else (task,):
        import_modules(f"cvserve.models.{name}")


def list_entries(task: str | None = None, pattern: str = "*") -> list[ModelEntry]:
    """Returns the networks of `task` (of all tasks if None) whose names match the wildcard `pattern`.

    They are sorted by task and name.

    Raises:
        InvalidInput: no such task.
    """
    if task is not None:
        check_task(task)
    load_networks(task)
    return [
        entry
        for (kind, name), entry in sorted(registered().items())
        if task in (None, kind) and fnmatch.fnmatchcase(name, pattern)
    ]


def list_models(task: str | None = None, pattern: str = "*") -> list[str]:
    """Returns the names of the networks of `task` (of all tasks if None) that match the wildcard `pattern`, sorted."""
    return sorted({entry.name for entry in list_entries(task, pattern)})


def find(task: str, name: str) -> ModelEntry:
    """Returns the entry of a network.

    Raises:
        InvalidInput: no such task or name; the message names the nearest.
    """
    check_task(task)
    load_networks(task)
    table = registered()
    if (task, name) not in table:
        raise InvalidInput(f"no {task} model {name!r}{nearest(name, list_models(task))}")
    return table[task, name]


def default_preproc(task: str, name: str, image_size: int | tuple[int, int] | None = None) -> PreprocSpec:
    """Returns the geometry that a network is trained and served with unless the user says otherwise.

    Args:
        image_size: side, or (height, width), in pixels; None takes the network's own.
    """
    height, width = _size(find(task, name), image_size)
    return PreprocSpec(height=height, width=width, resize=MODEL_TASKS[task].resize)


def build_model(
    task: str,
    name: str,
    *,
    num_classes: int,
    image_size: int | tuple[int, int] | None = None,
    weights: str | None = None,
    **options: Any,
) -> Built:
    """Builds a network together with its postprocessing and its loss.

    Args:
        num_classes: of segmentation with background, where that is a class; of detection without. Of captioning the
            size of the vocabulary, special tokens included.
        image_size: side, or (height, width), in pixels; None takes the network's own.
        weights: "imagenet" (downloaded by keras.applications), the path of a weights file, or None for random ones.
        options: the network's own, see its builder.

    Returns:
        A `Built`; of segmentation a `Segmenter`, of captioning a `Captioner`.

    Raises:
        InvalidInput: an unknown name, option or size, or weights that do not fit.
    """
    entry = find(task, name)
    MODEL_TASKS[task].check_classes(task, num_classes)
    return build_entry(
        entry, num_classes=num_classes, image_size=_size(entry, image_size), weights=weights, options=options
    )


def create_model(
    task: str,
    name: str,
    *,
    num_classes: int,
    image_size: int | tuple[int, int] | None = None,
    weights: str | None = None,
    **options: Any,
) -> keras.Model:
    """Builds a network alone. Arguments and errors are those of `build_model`.

    Returns:
        A model from `images` (uint8 [B, height, width, 3], RGB, 0 to 255; scaling happens inside) to a dict of named
        outputs. Classification: `probabilities` float32 [B, num_classes], made from the layer `logits`. Detection: see
        `cvserve.models.detection.detector`. Segmentation: see `Segmenter`. Captioning: see `Captions`.
    """
    built = build_model(task, name, num_classes=num_classes, image_size=image_size, weights=weights, **options)
    return built.network


def check_task(task: str) -> None:
    """Raises InvalidInput, which names the nearest, if there is no such task. Imports no framework."""
    if task not in MODEL_TASKS:
        raise InvalidInput(f"no networks for task {task!r}{nearest(task, list(MODEL_TASKS.names()))}")


def _size(entry: ModelEntry, image_size: int | tuple[int, int] | None) -> tuple[int, int]:
    if image_size is None:
        return entry.image_size, entry.image_size
    if isinstance(image_size, int):
        return image_size, image_size
    height, width = image_size
    return height, width
