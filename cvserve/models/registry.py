"""Which networks there are: a table of names, each with its builder and the image size it was meant for."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from cvserve.artifact import PreprocSpec
from cvserve.errors import InvalidInput
from cvserve.settings import nearest

if TYPE_CHECKING:
    import keras

Built = TypeVar("Built")


@dataclass(frozen=True)
class ModelEntry:
    """A network that can be asked for by name.

    builder: called with num_classes, image_size (height, width), weights and the model's own options; returns a
    keras.Model that takes uint8 `images` [B, height, width, 3], RGB.
    image_size: side in pixels used when nothing else is asked for.
    """

    task: str
    name: str
    builder: Callable[..., keras.Model]
    image_size: int
    summary: str


_entries: dict[tuple[str, str], ModelEntry] = {}


def register(entry: ModelEntry) -> ModelEntry:
    """Adds a network; a name is given once per task."""
    key = (entry.task, entry.name)
    if key in _entries:
        raise ValueError(f"{entry.task} model {entry.name!r} is registered twice")
    _entries[key] = entry
    return entry


def _table() -> dict[tuple[str, str], ModelEntry]:
    from cvserve.models import captioning, classification, detection, segmentation  # noqa: F401  (register their networks)

    return _entries


def list_models(task: str | None = None, pattern: str = "*") -> list[str]:
    """Names of the networks of `task` (all tasks if None) that match the wildcard `pattern`, sorted."""
    return sorted(
        {name for kind, name in _table() if task in (None, kind) and fnmatch.fnmatchcase(name, pattern)},
    )


def find(task: str, name: str) -> ModelEntry:
    """The entry of a network.

    Raises:
        InvalidInput: no such task or name; the text names the nearest.
    """
    table = _table()
    tasks = sorted({kind for kind, _ in table})
    if task not in tasks:
        raise InvalidInput(f"no networks for task {task!r}{nearest(task, tasks)}")
    if (task, name) not in table:
        raise InvalidInput(f"no {task} model {name!r}{nearest(name, list_models(task))}")
    return table[task, name]


def default_preproc(task: str, name: str, image_size: int | tuple[int, int] | None = None) -> PreprocSpec:
    """The geometry a network is trained and served with unless the user says otherwise.

    Args:
        image_size: side, or (height, width), in pixels; None takes the network's own.
    """
    height, width = _size(find(task, name), image_size)
    return PreprocSpec(height=height, width=width, resize="short_side" if task == "classification" else "letterbox")


def create_model(
    task: str,
    name: str,
    *,
    num_classes: int,
    image_size: int | tuple[int, int] | None = None,
    weights: str | None = None,
    **options: Any,
) -> keras.Model:
    """Builds a network.

    Args:
        num_classes: size of its answer.
        image_size: side, or (height, width), in pixels; None takes the network's own.
        weights: "imagenet" (downloaded by keras.applications), the path of a weights file, or None for random ones.
        options: the network's own, see its builder.

    Returns:
        A model from `images` (uint8 [B, height, width, 3], RGB, 0 to 255; scaling happens inside) to a dict of named
        outputs. Classification: `probabilities` float32 [B, num_classes], made from the layer `logits`. Detection: see
        `cvserve.models.detection.Detector`. Segmentation: see `cvserve.models.segmentation.Segmenter`.

    Raises:
        InvalidInput: an unknown name, option or size, or weights that do not fit.
    """
    entry = find(task, name)
    if num_classes < 1:
        raise InvalidInput(f"a {task} model needs at least one class, not {num_classes}")
    return sized(entry, entry.builder, num_classes=num_classes, image_size=image_size, weights=weights, options=options)


def sized(
    entry: ModelEntry,
    builder: Callable[..., Built],
    *,
    num_classes: int,
    image_size: int | tuple[int, int] | None,
    weights: str | None,
    options: dict[str, Any],
) -> Built:
    """Calls a builder of `entry`; what it makes of wrong options becomes one sentence.

    Raises:
        InvalidInput: options that it does not take.
    """
    name = entry.name
    try:
        return builder(num_classes=num_classes, image_size=_size(entry, image_size), weights=weights, **options)
    except InvalidInput:
        raise
    except (TypeError, ValueError) as error:
        if not options:
            raise
        reason = " ".join(str(error).split())
        if "unexpected keyword" in reason or "multiple values" in reason:
            raise InvalidInput(f"{name} takes no such option: {reason.rpartition('argument ')[2]}") from error
        given = ", ".join(f"{option}: {value!r}" for option, value in options.items())
        raise InvalidInput(f"{name} cannot be built with {given}: {reason[:300]}") from error


def _size(entry: ModelEntry, image_size: int | tuple[int, int] | None) -> tuple[int, int]:
    if image_size is None:
        return entry.image_size, entry.image_size
    if isinstance(image_size, int):
        return image_size, image_size
    height, width = image_size
    return height, width
