"""Finds the input and output of an imported graph from its file and its spec, which must not contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from cvserve.artifact import InputSpec, OutputSpec, PreprocSpec, Quantization
from cvserve.errors import InvalidInput
from cvserve.export.import_spec import ImportSpec, InputSettings
from cvserve.runtimes import TensorInfo
from cvserve.runtimes.checks import describe

_DTYPES: tuple[str, ...] = get_args(InputSpec.model_fields["dtype"].annotation)
_SUM_TOLERANCE = 0.02
"""How far the sum of a row of probabilities may be from 1: answers in float16 and int8 are that coarse."""


def input_contract(
    spec: ImportSpec, infos: Mapping[str, TensorInfo], quantization: Mapping[str, Quantization]
) -> tuple[InputSpec, PreprocSpec]:
    """Returns the graph's input and the preprocessing with the size of its images.

    Args:
        spec: the user's.
        infos: the graph's inputs by name.
        quantization: scale and zero point by tensor name, where the file holds them.

    Raises:
        InvalidInput: the spec contradicts the file, or something is in neither of them.
    """
    given = spec.input
    info = _pick(given.name, infos, "input")
    if len(infos) > 1:
        raise InvalidInput(f"the file has {len(infos)} inputs, {', '.join(infos)}; only models of one can be imported")
    if info.dtype not in _DTYPES:
        raise InvalidInput(f"input {info.name!r} is {info.dtype}; only {', '.join(_DTYPES)} can be imported")
    if given.dtype is not None and given.dtype != info.dtype:
        raise InvalidInput(f"input.dtype says {given.dtype}, but the file takes {describe(info)}")
    layout, height, width = _layout(given.layout, info)
    height = _size("height", spec.preproc.height, height, info)
    width = _size("width", spec.preproc.width, width, info)
    stored = _quantization("input", given.quantization, quantization.get(info.name), info)
    values = given.model_dump(exclude={"name", "layout", "dtype", "scale", "quantization"})
    contract = InputSpec.model_validate(
        {
            **values,
            "name": info.name,
            "dtype": info.dtype,
            "layout": layout,
            "scale": _scale(given, info, stored),
            "quantization": stored,
        }
    )
    return contract, spec.preproc.sized(height, width)


def output_contract(
    spec: ImportSpec,
    labels: tuple[str, ...],
    infos: Mapping[str, TensorInfo],
    quantization: Mapping[str, Quantization],
    answers: Mapping[str, np.ndarray],
) -> OutputSpec:
    """Returns the graph's output that holds the scores of the classes.

    Args:
        answers: the graph's outputs [B, ...] by name for some random images, which show logits or probabilities.

    Raises:
        InvalidInput: the spec contradicts the file or the answers.
    """
    given = spec.output
    info = _pick(given.name, infos, "output")
    values = answers[info.name]
    if values.dtype.kind not in "iuf":
        raise InvalidInput(f"output {info.name!r} is {info.dtype}; class scores must be numbers")
    shape = values.shape[1:]
    classes = shape[-1] if shape else 0
    if values.size != len(values) * classes:
        raise InvalidInput(f"output {info.name!r} is {list(values.shape)}, not [batch, classes]; name another output")
    if classes != len(labels):
        more = "; models with a class 'background' need it as the first label" if classes == len(labels) + 1 else ""
        raise InvalidInput(f"{len(labels)} labels do not fit output {info.name!r}, which has {classes} classes{more}")
    stored = _quantization("output", given.quantization, quantization.get(info.name), info)
    real = values.reshape(len(values), classes).astype(np.float64)
    if stored is not None:
        real = (real - stored.zero_point) * stored.scale
    if not np.isfinite(real).all():
        raise InvalidInput(f"output {info.name!r} gives numbers that are not finite for a random image")
    return OutputSpec(
        name=info.name, role=_role(given.role, info, real), dtype=info.dtype, shape=shape, quantization=stored
    )


def _pick(name: str | None, infos: Mapping[str, TensorInfo], kind: str) -> TensorInfo:
    if name is not None:
        if name not in infos:
            raise InvalidInput(f"{kind}.name says {name!r}, but the file has {', '.join(infos)}")
        return infos[name]
    if len(infos) != 1:
        raise InvalidInput(f"the file has {len(infos)} {kind}s; write {kind}.name, one of {', '.join(infos)}")
    return next(iter(infos.values()))


def _layout(given: str | None, info: TensorInfo) -> tuple[Literal["NHWC", "NCHW"], int | None, int | None]:
    """Returns the layout, and height and width as far as the shape has them."""
    if len(info.shape) != 4:
        raise InvalidInput(f"input {info.name!r} is {describe(info)}; images have four dimensions")
    _, first, second, third = info.shape
    can_be: dict[str, bool] = {"NHWC": third in (3, None), "NCHW": first in (3, None)}
    if given is not None and not can_be[given]:
        raise InvalidInput(f"input.layout says {given}, but the file takes {describe(info)}")
    if given is None:
        sure = [layout for layout, channels in (("NHWC", third), ("NCHW", first)) if channels == 3]
        if not any(can_be.values()):
            raise InvalidInput(f"input {info.name!r} is {describe(info)}; only images of 3 channels can be imported")
        if len(sure) != 1:
            raise InvalidInput(f"the shape {describe(info)} does not show the layout; write input.layout: NHWC or NCHW")
        given = sure[0]
    return ("NHWC", first, second) if given == "NHWC" else ("NCHW", second, third)


def _size(which: str, given: int | None, shape: int | None, info: TensorInfo) -> int:
    if given is not None and shape is not None and given != shape:
        raise InvalidInput(f"preproc.{which} says {given}, but the file takes {describe(info)}")
    size = given or shape
    if size is None:
        raise InvalidInput(f"the file takes images of any {which} ({describe(info)}); write preproc.{which}")
    return size


def _quantization(
    kind: str, given: Quantization | None, stored: Quantization | None, info: TensorInfo
) -> Quantization | None:
    if given is not None and info.dtype not in ("uint8", "int8"):
        raise InvalidInput(f"{kind}.quantization is given, but the file's {kind} {info.name!r} is {info.dtype}")
    if given is not None and stored is not None:
        is_same = np.isclose(given.scale, stored.scale, rtol=1e-4) and given.zero_point == stored.zero_point
        if not is_same:
            raise InvalidInput(
                f"{kind}.quantization says scale {given.scale:g} and zero point {given.zero_point}, but the file has "
                f"{stored.scale:g} and {stored.zero_point}; leave it out"
            )
    quantization = stored or given
    if quantization is None and info.dtype == "int8":
        raise InvalidInput(
            f"{kind} {info.name!r} is int8, but its scale and zero point are not in the file; write {kind}.quantization"
        )
    return quantization


def _scale(given: InputSettings, info: TensorInfo, stored: Quantization | None) -> float:
    """Returns the pixel scale. It must be given wherever the file takes real numbers: a wrong guess goes unnoticed."""
    if given.scale is not None:
        return given.scale
    if info.dtype == "uint8" and stored is None:
        return 1.0
    raise InvalidInput(
        f"input.scale is missing: the file takes {'quantized' if stored else info.dtype} numbers and does not say how "
        "pixels become them; write 1/255 if it wants 0 to 1 (before mean and std), 1 if it wants 0 to 255"
    )


def _role(given: str | None, info: TensorInfo, real: Any) -> str:
    """Returns "probabilities" or "logits".

    Args:
        given: the role in the spec.
        real: float64 [B, C], the graph's answers.
    """
    low, high = float(real.min()), float(real.max())
    within = low >= -_SUM_TOLERANCE and high <= 1 + _SUM_TOLERANCE
    sums_to_one = within and bool(np.all(np.abs(real.sum(axis=1) - 1) <= _SUM_TOLERANCE))
    if given == "probabilities" and not within:
        raise InvalidInput(
            f"output.role says probabilities, but {info.name!r} gave {low:.3g} to {high:.3g} for random images; "
            "write logits"
        )
    if given == "logits" and sums_to_one and real.shape[1] > 1:
        raise InvalidInput(
            f"output.role says logits, but the numbers of {info.name!r} lie between 0 and 1 and sum to 1; "
            "write probabilities"
        )
    if given is None and within and not sums_to_one:
        raise InvalidInput(
            f"the numbers of {info.name!r} lie between 0 and 1 but do not sum to 1, so they may be probabilities or "
            "logits; write output.role: probabilities (of a sigmoid, for example), or logits with output.activation"
        )
    return given or ("probabilities" if sums_to_one else "logits")
