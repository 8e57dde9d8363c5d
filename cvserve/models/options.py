"""Checks the options of networks. What does not fit raises InvalidInput, which names the network and the option."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from cvserve.errors import InvalidInput


def check_whole(model: str, **limits: tuple[Any, int]) -> None:
    """Checks (value, least) of each option: a whole number of at least that."""
    for option, (value, least) in limits.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InvalidInput(f"{model} needs a {option} of at least {least}, a whole number, not {value!r}")


def check_choice(model: str, **choices: tuple[Any, Collection[str]]) -> None:
    """Checks (value, known) of each option: the value is one of the known."""
    for option, (value, known) in choices.items():
        if value not in known:
            raise InvalidInput(f"{model} has no {option} {value!r}; known: {', '.join(known)}")


def check_positive(model: str, **values: Any) -> None:
    """Checks that each option is a number above 0, or a list of one or more of them."""
    for option, value in values.items():
        numbers = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        fits = all(isinstance(number, int | float) and number > 0 for number in numbers)
        if not fits or not len(numbers):
            raise InvalidInput(f"{model} needs {option} above 0, not {value!r}")


def check_sides(model: str, image_size: tuple[int, int], multiple: int) -> None:
    """Checks that both sides of the images are multiples of so many pixels."""
    height, width = image_size
    if height % multiple or width % multiple or min(height, width) < multiple:
        raise InvalidInput(
            f"{model} takes images whose sides are multiples of {multiple} pixels, not {height} x {width}"
        )


def check_output_stride(model: str, stride: Any) -> None:
    """Checks that the stride is a power of two."""
    check_whole(model, output_stride=(stride, 1))
    if stride & (stride - 1):
        raise InvalidInput(f"{model} needs a power of two as output_stride, not {stride}")


def fills_whole_network(weights: str | None) -> bool:
    """Returns whether weights may hold more than a backbone: a `.keras` file, of which all that fits is used."""
    return weights is not None and str(weights).endswith(".keras")


def check_fraction(model: str, **fractions: Any) -> None:
    """Checks that each option is a number from 0 to below 1."""
    for option, value in fractions.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
            raise InvalidInput(f"{model} needs a {option} from 0 to below 1, not {value!r}")


def check_whole_numbers(model: str, count: int | None = None, **lists: Any) -> None:
    """Checks that each option is a list of whole numbers above 0: one or more, or as many as `count`."""
    for option, values in lists.items():
        is_list = isinstance(values, Sequence) and not isinstance(values, str)
        fits = is_list and all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values)
        if not fits or not values or len(values) != (count or len(values)):
            raise InvalidInput(f"{model} needs {option} as {count or 'some'} whole numbers above 0, not {values!r}")
