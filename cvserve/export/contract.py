"""What a foreign graph takes and gives: the file's own word joined with the spec's, and their contradictions."""

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
"""Of one, the sum of a row of probabilities: float16 and int8 answers are that coarse."""


def input_contract(
    spec: ImportSpec, infos: Mapping[str, TensorInfo], quantization: Mapping[str, Quantization]
) -> tuple[InputSpec, PreprocSpec]:
    """The graph's input and the size of its images.

    Args:
        spec: what the user says.
        infos: the graph's inputs by name.
        quantization: scale and zero point by tensor name, where the file holds them.

    Raises:
        InvalidInput: the spec contradicts the file, or neither says what is needed.
    """
    said = spec.input
    info = _pick(said.name, infos, "input")
    if len(infos) > 1:
        raise InvalidInput(f"the file has {len(infos)} inputs, {', '.join(infos)}; only models of one can be imported")
    if info.dtype not in _DTYPES:
        raise InvalidInput(f"input {info.name!r} is {info.dtype}; only {', '.join(_DTYPES)} can be imported")
    if said.dtype is not None and said.dtype != info.dtype:
        raise InvalidInput(f"input.dtype says {said.dtype}, but the file takes {describe(info)}")
    layout, height, width = _layout(said.layout, info)
    height = _size("height", spec.preproc.height, height, info)
    width = _size("width", spec.preproc.width, width, info)
    stored = _quantization("input", said.quantization, quantization.get(info.name), info)
    values = said.model_dump(exclude={"name", "layout", "dtype", "scale", "quantization"})
    contract = InputSpec.model_validate(
        {
            **values,
            "name": info.name,
            "dtype": info.dtype,
            "layout": layout,
            "scale": _scale(said, info, stored),
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
    """The graph's output that holds the classes.

    Args:
        answers: what the graph gave for a few random images, [B, ...] by name: they tell logits from probabilities.

    Raises:
        InvalidInput: the spec contradicts the file or the answers.
    """
    said = spec.output
    info = _pick(said.name, infos, "output")
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
    stored = _quantization("output", said.quantization, quantization.get(info.name), info)
    real = values.reshape(len(values), classes).astype(np.float64)
    if stored is not None:
        real = (real - stored.zero_point) * stored.scale
    if not np.isfinite(real).all():
        raise InvalidInput(f"output {info.name!r} gives numbers that are not finite for a random image")
    return OutputSpec(
        name=info.name, role=_role(said.role, info, real), dtype=info.dtype, shape=shape, quantization=stored
    )


def _pick(name: str | None, infos: Mapping[str, TensorInfo], kind: str) -> TensorInfo:
    if name is not None:
        if name not in infos:
            raise InvalidInput(f"{kind}.name says {name!r}, but the file has {', '.join(infos)}")
        return infos[name]
    if len(infos) != 1:
        raise InvalidInput(f"the file has {len(infos)} {kind}s; write {kind}.name, one of {', '.join(infos)}")
    return next(iter(infos.values()))


def _layout(said: str | None, info: TensorInfo) -> tuple[Literal["NHWC", "NCHW"], int | None, int | None]:
    """The layout and what the shape says of height and width."""
    if len(info.shape) != 4:
        raise InvalidInput(f"input {info.name!r} is {describe(info)}; images have four dimensions")
    _, first, second, third = info.shape
    can_be: dict[str, bool] = {"NHWC": third in (3, None), "NCHW": first in (3, None)}
    if said is not None and not can_be[said]:
        raise InvalidInput(f"input.layout says {said}, but the file takes {describe(info)}")
    if said is None:
        sure = [layout for layout, channels in (("NHWC", third), ("NCHW", first)) if channels == 3]
        if not any(can_be.values()):
            raise InvalidInput(f"input {info.name!r} is {describe(info)}; only images of 3 channels can be imported")
        if len(sure) != 1:
            raise InvalidInput(f"the shape {describe(info)} does not tell the layout; write input.layout: NHWC or NCHW")
        said = sure[0]
    return ("NHWC", first, second) if said == "NHWC" else ("NCHW", second, third)


def _size(which: str, said: int | None, shape: int | None, info: TensorInfo) -> int:
    if said is not None and shape is not None and said != shape:
        raise InvalidInput(f"preproc.{which} says {said}, but the file takes {describe(info)}")
    size = said or shape
    if size is None:
        raise InvalidInput(f"the file takes images of any {which} ({describe(info)}); write preproc.{which}")
    return size


def _quantization(
    kind: str, said: Quantization | None, stored: Quantization | None, info: TensorInfo
) -> Quantization | None:
    if said is not None and info.dtype not in ("uint8", "int8"):
        raise InvalidInput(f"{kind}.quantization is given, but the file's {kind} {info.name!r} is {info.dtype}")
    if said is not None and stored is not None:
        is_same = np.isclose(said.scale, stored.scale, rtol=1e-4) and said.zero_point == stored.zero_point
        if not is_same:
            raise InvalidInput(
                f"{kind}.quantization says scale {said.scale:g} and zero point {said.zero_point}, but the file has "
                f"{stored.scale:g} and {stored.zero_point}; leave it out"
            )
    found = stored or said
    if found is None and info.dtype == "int8":
        raise InvalidInput(
            f"{kind} {info.name!r} is int8, but its scale and zero point are not in the file; write {kind}.quantization"
        )
    return found


def _scale(said: InputSettings, info: TensorInfo, stored: Quantization | None) -> float:
    """The pixel scale, which must be said wherever the file takes real numbers: guessing it wrong goes unnoticed."""
    if said.scale is not None:
        return said.scale
    if info.dtype == "uint8" and stored is None:
        return 1.0
    raise InvalidInput(
        f"input.scale is missing: the file takes {'quantized' if stored else info.dtype} numbers and does not say how "
        "pixels become them; write 1/255 if it wants 0 to 1 (before mean and std), 1 if it wants 0 to 255"
    )


def _role(said: str | None, info: TensorInfo, real: Any) -> str:
    """ "probabilities" or "logits"; real: float64 [B, C]."""
    low, high = float(real.min()), float(real.max())
    within = low >= -_SUM_TOLERANCE and high <= 1 + _SUM_TOLERANCE
    sums_to_one = within and bool(np.all(np.abs(real.sum(axis=1) - 1) <= _SUM_TOLERANCE))
    if said == "probabilities" and not within:
        raise InvalidInput(
            f"output.role says probabilities, but {info.name!r} gave {low:.3g} to {high:.3g} for random images; "
            "write logits"
        )
    if said == "logits" and sums_to_one and real.shape[1] > 1:
        raise InvalidInput(
            f"output.role says logits, but the numbers of {info.name!r} lie between 0 and 1 and sum to 1; "
            "write probabilities"
        )
    if said is None and within and not sums_to_one:
        raise InvalidInput(
            f"the numbers of {info.name!r} lie between 0 and 1 but do not sum to 1, which tells neither probabilities "
            "nor logits; write output.role: probabilities (of a sigmoid, say), or logits with output.activation"
        )
    return said or ("probabilities" if sums_to_one else "logits")
