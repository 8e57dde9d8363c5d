"""Defines captioning's part of the manifest: sentences about an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cvserve.artifact.decoding import Decoding
from cvserve.artifact.task_spec import Parity, PostprocSpec, TaskSpec, need_outputs
from cvserve.artifact.vocabulary import Vocabulary

if TYPE_CHECKING:
    from cvserve.artifact.manifest import Manifest


class CaptioningPostproc(PostprocSpec):
    """Turns token ids into sentences.

    vocabulary: the tokens by id. decoding: how the graph searches its sentences; where an image has several, they are
    put into the order that it says. max_results: how many sentences an image.
    """

    task: Literal["captioning"] = "captioning"
    vocabulary: Vocabulary
    decoding: Decoding | None = None
    max_results: int = Field(default=100, gt=0)

    def describe(self) -> list[tuple[str, str]]:
        """Returns the size of the vocabulary, and the decoding."""
        words = f"{len(self.vocabulary)} {self.vocabulary.kind}, sentences of up to {self.vocabulary.length}"
        return [("vocabulary", words), ("decoding", "" if self.decoding is None else self.decoding.describe())]


class CaptioningParity(Parity):
    """Compares sentences.

    max_abs_difference: of the sentences' log probabilities, relative to them where they are beyond 1. An image agrees
    that has the same token ids.

    agreement_limit: the least agreement that is allowed.
    """

    task: Literal["captioning"] = "captioning"
    agreement_limit: float | None = None

    @property
    def fault(self) -> str | None:
        """Returns why the graph does not answer as the network does, or None when it does."""
        if self.agreement_limit is not None and self.agreement < self.agreement_limit:
            return f"{1 - self.agreement:.2%} of the images have another sentence than the network's"
        return super().fault


def _check(manifest: Manifest) -> None:
    vocabulary = CaptioningPostproc.of(manifest).vocabulary
    need_outputs(manifest, "token_ids", "log_probability")
    ids = manifest.output("token_ids")
    if ids is not None and ids.shape and (ids.shape[-1] or 0) > vocabulary.length:
        raise ValueError(f"sentences of {ids.shape[-1]} tokens do not fit a vocabulary of {vocabulary.length}")


SPEC = TaskSpec(CaptioningPostproc, CaptioningParity, _check)
