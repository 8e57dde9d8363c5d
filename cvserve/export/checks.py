"""What can be seen of a network before it is written: its outputs, and whether labels or vocabulary fit them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cvserve.artifact import CaptioningPostproc, OutputSpec, PostprocSpec, PreprocSpec, Task
from cvserve.errors import InvalidInput

Answers = Mapping[str, np.ndarray]
"""Of the network, [N, ...] by the names of its outputs."""


def check_images(images: np.ndarray, preproc: PreprocSpec) -> None:
    """
    Raises:
        InvalidInput: they are not uint8 [N, H, W, 3] of the network's own size.
    """
    wanted = (preproc.height, preproc.width, 3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != wanted or not len(images):
        raise InvalidInput(
            f"parity images must be uint8 [at least 1, {preproc.height}, {preproc.width}, 3], "
            f"not {images.dtype} {list(images.shape)}"
        )


def outputs_of(answers: Answers, roles: Mapping[str, str]) -> tuple[OutputSpec, ...]:
    """The network's outputs. roles: by name, where a name is not its role."""
    return tuple(
        OutputSpec(name=name, role=roles.get(name, name), dtype=str(values.dtype), shape=values.shape[1:])
        for name, values in sorted(answers.items())
    )


def check_outputs(
    task: Task,
    outputs: Sequence[OutputSpec],
    answers: Answers,
    labels: Sequence[str],
    postproc: PostprocSpec | None,
) -> None:
    """
    Raises:
        InvalidInput: the network cannot be one of this task with these labels, or this vocabulary.
    """
    if task == "detection" and postproc is None:
        raise InvalidInput("a detection model needs postproc, which says how its outputs become boxes (postproc.boxes)")
    if task == "classification":
        _check_scores(outputs, labels)
    elif task == "segmentation":
        _check_class_map(_by_role("segmentation", outputs, "class_map", "confidence"), answers, labels)
    elif task == "captioning":
        _check_sentences(_by_role("captioning", outputs, "token_ids", "log_probability"), answers, postproc)


def _by_role(task: Task, outputs: Sequence[OutputSpec], *needed: str) -> dict[str, OutputSpec]:
    by_role = {output.role: output for output in outputs}
    if not set(needed) <= set(by_role):
        raise InvalidInput(
            f"a {task} network needs the outputs {' and '.join(needed)}; this one has "
            f"{', '.join(output.name for output in outputs)}; say which is which"
        )
    return by_role


def _check_scores(outputs: Sequence[OutputSpec], labels: Sequence[str]) -> None:
    scores = [output for output in outputs if output.role in ("probabilities", "logits")]
    for output in scores:
        if output.shape != (len(labels),):
            raise InvalidInput(
                f"{len(labels)} labels do not fit output {output.name!r}, which is {list(output.shape)} an image"
            )
    if not scores:
        raise InvalidInput(
            "the network has no output called probabilities or logits, only "
            f"{', '.join(output.name for output in outputs)}; say which is which"
        )


def _check_class_map(by_role: Mapping[str, OutputSpec], answers: Answers, labels: Sequence[str]) -> None:
    found = answers[by_role["class_map"].name]
    if found.dtype != np.uint8:
        raise InvalidInput(f"a class map has one byte a pixel, but {by_role['class_map'].name!r} is {found.dtype}")
    if found.max() >= len(labels):
        raise InvalidInput(f"{len(labels)} labels do not fit a network that answers with class {found.max()}")


def _check_sentences(by_role: Mapping[str, OutputSpec], answers: Answers, postproc: PostprocSpec | None) -> None:
    if not isinstance(postproc, CaptioningPostproc):
        raise InvalidInput("a captioning model needs postproc.vocabulary, which says what its token ids mean")
    found, known = answers[by_role["token_ids"].name], len(postproc.vocabulary)
    if found.dtype.kind not in "iu":
        raise InvalidInput(f"token ids are whole numbers, but {by_role['token_ids'].name!r} is {found.dtype}")
    if found.max() >= known:
        raise InvalidInput(
            f"a vocabulary of {known} tokens does not fit a network that answers with token {found.max()}"
        )
