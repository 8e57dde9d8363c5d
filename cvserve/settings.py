"""Outside settings (YAML files, flags) into pydantic models, with one clear sentence where they do not fit."""

from __future__ import annotations

import difflib
import reprlib
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from cvserve.errors import InvalidInput, NotFound

Model = TypeVar("Model", bound=BaseModel)

# ValueError: no UTF-8, a date with a 13th month, a number of thousands of digits. RecursionError: hundreds of brackets.
_UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)

# Values in sentences: not endless, and no deeper than they can be written.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200


def parse(model: type[Model], values: Any, what: str) -> Model:
    """Builds `model` from `values` (a mapping).

    Args:
        what: how errors call the source ("runs/config.yaml", "the flags").

    Raises:
        InvalidInput: the first fault, naming the key, the value and, for an unknown key, the nearest known one.
    """
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise InvalidInput(f"{what} must be a mapping of keys to values, not {type(values).__name__}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InvalidInput(f"{what}: {_sentence(model, error)}") from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        NotFound: no such file. InvalidInput: not YAML, or not a mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"no settings file at {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except _UNREADABLE as error:
        raise InvalidInput(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InvalidInput(f"{path} must be a mapping of keys to values, not {type(values).__name__}")
    return values


def with_overrides(values: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Applies `key=value` texts; `a.b=1` reaches into nested settings, values are read as YAML.

    A key that holds a dot itself is written in a value: `a={b.c: 1}`.

    Raises:
        InvalidInput: a text without "=", or a key that leads through something that is no mapping.
    """
    result = _copy(values)
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidInput(f"{text!r} is no setting; write key=value")
        target = result
        *parents, last = key.split(".")
        for parent in parents:
            # An empty one in a file is None.
            inner = {} if target.get(parent) is None else target[parent]
            if not isinstance(inner, dict):
                raise InvalidInput(f"{_SHORT.repr(text)}: {parent!r} holds a value, not settings")
            target[parent] = inner
            target = inner
        try:
            target[last] = yaml.safe_load(value)
        except _UNREADABLE as error:
            raise InvalidInput(f"{_SHORT.repr(text)}: {_SHORT.repr(value)} is not a YAML value") from error
    return result


def nearest(word: str, known: list[str]) -> str:
    """`, did you mean 'x'?` for the known word closest to `word`, or the list of all of them when none is close."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def _copy(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in values.items()}


def _sentence(model: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        owner = _model_at(model, location[:-1]) or model
        return f"unknown key {key!r}{nearest(location[-1], list(owner.model_fields))}"
    if first["type"] == "missing":
        return f"{key!r} is missing"
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return message
    return f"{key} = {_SHORT.repr(first['input'])} cannot be used: {message[0].lower()}{message[1:]}"


def _model_at(model: type[BaseModel], path: list[str]) -> type[BaseModel] | None:
    """The settings class that the keys of `path` lead to, as far as the annotations tell."""
    current: type[BaseModel] | None = model
    for part in path:
        field = current.model_fields.get(part) if current else None
        if field is None:
            continue
        kinds = [field.annotation, *get_args(field.annotation)]
        current = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), current)
    return current
