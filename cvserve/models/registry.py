"""Holds the table of networks: each is registered once, with its facts and the function that builds it.

A module that has a network calls `register` when it is imported. `cvserve.models.catalogue` imports these modules and
answers questions about the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cvserve.errors import InvalidInput

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from cvserve.artifact import PostprocSpec

    Loss = Callable[..., dict[str, tf.Tensor]]


@dataclass(frozen=True)
class Built:
    """Holds a network together with how its outputs are decoded and what it learns from.

    network: from uint8 `images` [B, H, W, 3], RGB, to a dict of named outputs.
    postproc: how the outputs become results; None where that depends on the data set alone.
    loss: called with the images and the targets of a batch, and with settings of the task by name; returns the parts of
        the loss by name, float32 scalars whose sum is minimized. It runs the network with training=True. The arguments
        are those of `classifier`, `detection.built`, `segmenter` and `captioner`, by task.
    """

    network: keras.Model
    postproc: PostprocSpec | None
    loss: Loss


@dataclass(frozen=True)
class Paper:
    """Names the publication that a network comes from. arxiv: its number there, such as "1512.03385", or nothing."""

    title: str
    authors: str
    year: int
    arxiv: str = ""

    def __str__(self) -> str:
        return f"{self.authors} {self.year}"


@dataclass(frozen=True)
class ModelEntry:
    """Describes a network that can be asked for by name.

    task, name: unique together.
    build: called with num_classes, image_size (height, width), weights ("imagenet", a file, or None) and the network's
        own options by name; returns a `Built`.
    image_size: side in pixels that is used when nothing else is asked for.
    summary: what it is, in a few words.
    paper: where it was published, if it was.
    parameters: how many numbers it learns with its own size and options, and with the number of classes that its
        `ModelTask` counts them for; None if that is not known.
    masks: whether a detector finds masks, and learns from them.
    """

    task: str
    name: str
    build: Callable[..., Built]
    image_size: int
    summary: str
    paper: Paper | None = None
    parameters: int | None = None
    masks: bool = False


_entries: dict[tuple[str, str], ModelEntry] = {}


def register(entry: ModelEntry) -> ModelEntry:
    """Adds a network.

    Raises:
        ValueError: the task has another network of that name.
    """
    key = (entry.task, entry.name)
    if key in _entries:
        raise ValueError(f"{entry.task} model {entry.name!r} is registered twice")
    _entries[key] = entry
    return entry


def registered() -> dict[tuple[str, str], ModelEntry]:
    """Returns the networks that have been registered so far, by task and name."""
    return dict(_entries)


# Names of options that settings and runs of earlier versions have.
_FORMER_OPTIONS = {"normalised": "normalized"}


def build_entry(
    entry: ModelEntry,
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None,
    options: dict[str, Any],
) -> Built:
    """Calls an entry's `build`.

    Raises:
        InvalidInput: options that the network does not take, in one sentence.
    """
    options = _renamed(options)
    try:
        return entry.build(num_classes=num_classes, image_size=image_size, weights=weights, **options)
    except InvalidInput:
        raise
    except (TypeError, ValueError) as error:
        if not options:
            raise
        reason = " ".join(str(error).split())
        if "unexpected keyword" in reason or "multiple values" in reason:
            raise InvalidInput(f"{entry.name} takes no such option: {reason.rpartition('argument ')[2]}") from error
        shown = ", ".join(f"{option}: {value!r}" for option, value in options.items())
        raise InvalidInput(f"{entry.name} cannot be built with {shown}: {reason[:300]}") from error


def _renamed(options: dict[str, Any]) -> dict[str, Any]:
    """Returns options, and those of the backbone inside them, under their names of today."""
    renamed = {_FORMER_OPTIONS.get(name, name): value for name, value in options.items()}
    inner = renamed.get("backbone_options")
    return {**renamed, "backbone_options": _renamed(inner)} if isinstance(inner, dict) else renamed
