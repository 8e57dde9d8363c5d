"""Reads settings (YAML files, flags) into pydantic models, and reports a fault in one sentence."""

from __future__ import annotations

import difflib
import reprlib
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from cvserve.errors import InvalidInput, NotFound

Model = TypeVar("Model", bound=BaseModel)

# ValueError: text that is not UTF-8, a date with a 13th month, a number of thousands of digits. RecursionError:
# hundreds of nested brackets.
_UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)

# Shortens values in error messages, in length and in depth.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200

_MERGE = "tag:yaml.org,2002:merge"
"""The tag of the key `<<`, which PyYAML allows several times in a mapping."""


class _GivenTwice(yaml.YAMLError):
    """Reports a mapping that has the same key twice."""

    def __init__(self, first: yaml.Node, again: yaml.Node) -> None:
        super().__init__(f"key {_SHORT.repr(again.value)} is given twice")
        self.first_line = first.start_mark.line + 1
        self.line = again.start_mark.line + 1


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice; PyYAML would take the last one and report nothing.

    It checks before `<<` is followed: keys that are merged may be given again.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            # Keys that are lists or mappings are refused later.
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            first = seen.setdefault((key.tag, key.value), key)
            if first is not key:
                raise _GivenTwice(first, key)
        return node


def parse(model: type[Model], values: Any, what: str, *, secret: bool = False) -> Model:
    """Builds `model` from `values` (a mapping).

    Args:
        what: the name of the source in errors ("runs/config.yaml", "the flags").
        secret: errors show keys, but no values. Their cause still has values: raise them again `from None`.

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
        raise InvalidInput(f"{what}: {_sentence(model, error, secret)}") from (
            None if _is_secret(model, error) else error
        )


def read_yaml(path: str | Path, *, what: str = "settings file", secret: bool = False) -> dict[str, Any]:
    """Reads a YAML mapping.

    Args:
        what: the kind of file, for the error when it is missing.
        secret: as for `parse`.

    Raises:
        NotFound: no such file. InvalidInput: not YAML, a key that is given twice, or not a mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"no {what} at {path}")
    try:
        values = _load(path.read_text(encoding="utf-8"))
    except _GivenTwice as error:
        twice = "a key is given twice" if secret else str(error)
        raise InvalidInput(f"{path}, line {error.line}: {twice}, first in line {error.first_line}") from error
    except _UNREADABLE as error:
        problem = "" if secret else f": {_problem(error)}"
        raise InvalidInput(f"{path}{_line(error)} is not valid YAML{problem}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InvalidInput(f"{path} must be a mapping of keys to values, not {type(values).__name__}")
    return values


def with_overrides(values: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Applies `key=value` texts; `a.b=1` reaches into nested settings, values are read as YAML.

    A key that has a dot itself is written in a value: `a={b.c: 1}`.

    Raises:
        InvalidInput: a text without "=", or a key that leads through a value that is not a mapping.
    """
    result = _copy(values)
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidInput(f"{text!r} is not a setting; write key=value")
        target = result
        *parents, last = key.split(".")
        for parent in parents:
            # an empty mapping in a file is None
            inner = {} if target.get(parent) is None else target[parent]
            if not isinstance(inner, dict):
                raise InvalidInput(f"{_SHORT.repr(text)}: {parent!r} holds a value, not settings")
            target[parent] = inner
            target = inner
        try:
            target[last] = _load(value)
        except _GivenTwice as error:
            raise InvalidInput(f"{_SHORT.repr(text)}: {error}") from error
        except _UNREADABLE as error:
            raise InvalidInput(f"{_SHORT.repr(text)}: {_SHORT.repr(value)} is not a YAML value") from error
    return result


def nearest(word: str, known: list[str]) -> str:
    """Returns `; did you mean 'x'?` for the known word closest to `word`, or the list of all when none is close."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def _load(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def _problem(error: Exception) -> str:
    """Returns the message of a YAML error without the line that it quotes, which may contain a secret in any file."""
    if isinstance(error, RecursionError):
        return "it is too deep"
    # The parser of YAML has a problem; its reader, and text that is not UTF-8, a reason; a number or a date, neither.
    message = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    return " ".join(str(message).split())


def _line(error: Exception) -> str:
    """Returns `, line 3,` where the error has a line."""
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f", line {mark.line + 1},"


def _copy(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in values.items()}


def _sentence(model: type[BaseModel], error: ValidationError, secret: bool) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        owner = _model_at(model, location[:-1]) or model
        known = list(owner.model_fields)
        if secret:  # a secret may stand where a key should
            return f"{'.'.join(location[:-1]) or 'it'} has an unknown key; known: {', '.join(sorted(known))}"
        return f"unknown key {key!r}{nearest(location[-1], known)}"
    if first["type"] == "missing":
        return f"{key!r} is missing"
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return message
    hidden = secret or _is_secret(model, error)
    value = "" if hidden else f" = {_SHORT.repr(first['input'])}"
    return f"{key}{value} cannot be used: {message[0].lower()}{message[1:]}"


def _is_secret(model: type[BaseModel], error: ValidationError) -> bool:
    """Returns whether the first fault is in a field whose value is never shown."""
    location = error.errors()[0]["loc"]
    field = model.model_fields.get(str(location[0])) if location else None
    return field is not None and not field.repr


def _model_at(model: type[BaseModel], path: list[str]) -> type[BaseModel] | None:
    """Returns the settings class that the keys of `path` lead to, as far as the annotations show it."""
    current: type[BaseModel] | None = model
    for part in path:
        field = current.model_fields.get(part) if current else None
        if field is None:
            continue
        kinds = [field.annotation, *get_args(field.annotation)]
        current = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), current)
    return current
