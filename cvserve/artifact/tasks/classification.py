"""Defines classification's part of the manifest: the classes of an image, by score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cvserve.artifact.task_spec import Parity, PostprocSpec, TaskSpec, need_labels

if TYPE_CHECKING:
    from cvserve.artifact.manifest import Manifest


class ClassificationPostproc(PostprocSpec):
    """Turns class scores into the best classes.

    top_k: how many classes an image. activation: makes scores of logits; "none" where the graph gives probabilities.
    """

    task: Literal["classification"] = "classification"
    top_k: int = Field(default=5, gt=0)
    activation: Literal["none", "softmax", "sigmoid"] = "none"


class ClassificationParity(Parity):
    """Compares class probabilities.

    max_abs_difference: the largest of a probability. An image agrees if its best class is the same.
    """

    task: Literal["classification"] = "classification"


def _check(manifest: Manifest) -> None:
    need_labels(manifest)
    output = manifest.output("probabilities") or manifest.output("logits")  # in the order of postproc.class_scores
    if output is None:
        raise ValueError("a classification model needs an output of role probabilities or logits")
    if output.role == "logits" and ClassificationPostproc.of(manifest).activation == "none":
        raise ValueError(f"output {output.name!r} holds logits: postproc.activation must be softmax or sigmoid")
    if output.shape and output.shape[-1] not in (None, len(manifest.labels)):
        raise ValueError(f"{len(manifest.labels)} labels for the {output.shape[-1]} classes of {output.name!r}")


SPEC = TaskSpec(ClassificationPostproc, ClassificationParity, _check)
