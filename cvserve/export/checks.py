"""Checks the arguments of `export_model` before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cvserve.artifact import OutputSpec, PreprocSpec
from cvserve.errors import InvalidInput


def check_images(images: np.ndarray, preproc: PreprocSpec) -> None:
    """Checks that there are images for the comparison, in the size of the network's input.

    Raises:
        InvalidInput: they are not uint8 [N, H, W, 3] of that size, or there are none.
    """
    wanted = (preproc.height, preproc.width, 3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != wanted or not len(images):
        raise InvalidInput(
            f"parity images must be uint8 [at least 1, {preproc.height}, {preproc.width}, 3], "
            f"not {images.dtype} {list(images.shape)}"
        )


def output_specs(answers: Mapping[str, np.ndarray], roles: Mapping[str, str]) -> tuple[OutputSpec, ...]:
    """Returns the specs of a network's outputs.

    Args:
        answers: the network's outputs [N, ...] by name.
        roles: output name to role; by default an output's name is its role.
    """
    return tuple(
        OutputSpec(name=name, role=roles.get(name, name), dtype=str(values.dtype), shape=values.shape[1:])
        for name, values in sorted(answers.items())
    )


def need_outputs(task: str, outputs: Sequence[OutputSpec], *roles: str) -> dict[str, OutputSpec]:
    """Returns the outputs by role.

    Raises:
        InvalidInput: one of the roles belongs to no output.
    """
    by_role = {output.role: output for output in outputs}
    if not set(roles) <= set(by_role):
        raise InvalidInput(
            f"a {task} network needs the outputs {' and '.join(roles)}; this one has "
            f"{', '.join(output.name for output in outputs)}; give the role of each"
        )
    return by_role
