"""Bearer tokens: decide which requests a caller may send to which model."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cvserve.errors import InvalidInput, PermissionDenied, Unauthenticated
from cvserve.serving.security.watched import Watched
from cvserve.settings import parse, read_yaml

Right = Literal["inference", "management"]
"""inference: send requests to models and ask about them. management: load, unload, reload."""


class TokenEntry(BaseModel):
    """Holds one token of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    """The name of its owner in the log."""

    token: str | None = Field(default=None, min_length=8, repr=False)
    """The token itself, of at least 8 characters; `sha256` keeps it out of the file."""

    sha256: str | None = Field(default=None, pattern="^[0-9a-fA-F]{64}$", repr=False)
    """Its SHA-256 in hexadecimal: `printf %s "$TOKEN" | sha256sum`."""

    rights: tuple[Right, ...] = Field(default=("inference",), min_length=1)
    """The requests that it allows."""

    models: tuple[str, ...] | Literal["all"] = "all"
    """The models for which it is valid."""

    @model_validator(mode="after")
    def _check(self) -> TokenEntry:
        if (self.token is None) == (self.sha256 is None):
            raise InvalidInput("a token needs either token or sha256")
        return self

    @property
    def digest(self) -> bytes:
        """Returns the SHA-256 of the token."""
        if self.sha256 is not None:
            return bytes.fromhex(self.sha256)
        assert self.token is not None, "checked"
        return _digest(self.token)


class TokenFile(BaseModel):
    """Holds the content of the file: the key `tokens` with a list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: tuple[TokenEntry, ...]


_SHAPE = "the file has the key tokens and under it a list, each with token or sha256, and name, rights and models"


@dataclass(frozen=True)
class Known:
    """Holds a token in use. models: None for all."""

    name: str
    digest: bytes
    rights: frozenset[Right]
    models: frozenset[str] | None


def read_tokens(path: Path) -> tuple[Known, ...]:
    """Returns the tokens of a YAML (or JSON) file.

    Raises:
        NotFound, InvalidInput: the texts do not show the values, which are secrets.
    """
    try:
        values = read_yaml(path, what="file of tokens", secret=True)
        entries = parse(TokenFile, values, str(path), secret=True).tokens
    except InvalidInput as error:
        # Without the cause, which quotes the wrong value: that may be a token.
        raise InvalidInput(f"{error} ({_SHAPE})") from None
    return tuple(
        Known(
            entry.name or f"token {index}",
            entry.digest,
            frozenset(entry.rights),
            None if entry.models == "all" else frozenset(entry.models),
        )
        for index, entry in enumerate(entries)
    )


class Access:
    """Checks the tokens of requests. Without a file of tokens every request is allowed. Thread-safe."""

    def __init__(self, path: str | Path | None = None) -> None:
        """
        Args:
            path: the file of tokens, read again when it changes.

        Raises:
            NotFound, InvalidInput
        """
        self._tokens: Callable[[], tuple[Known, ...]] | None = None
        if path is not None:
            file = Path(path)
            self._tokens = Watched([file], lambda: read_tokens(file)).get

    @property
    def required(self) -> bool:
        """Returns whether requests need a token."""
        return self._tokens is not None

    def authorize(self, authorization: str | None, right: Right, model: str) -> str:
        """Checks one request.

        Args:
            authorization: the header of that name, "Bearer ...".
            right: what the request needs.
            model: the model of the request; "" for a request about the server, which needs a token for all models.

        Returns:
            The name of the token; "" where none is needed.

        Raises:
            Unauthenticated: no token, or an unknown one.
            PermissionDenied: the token does not allow the request.
        """
        if self._tokens is None:
            return ""
        if not authorization:
            raise Unauthenticated("this server needs a token: send the header 'authorization: Bearer TOKEN'")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("the authorization header must read 'Bearer TOKEN'")
        digest = _digest(token.strip())
        entry: Known | None = None
        # Every token is compared, each in constant time, so that the time does not show how close a guess was.
        for known in self._tokens():
            if hmac.compare_digest(known.digest, digest):
                entry = known
        if entry is None:
            raise Unauthenticated("the token is not known to this server")
        if right not in entry.rights:
            raise PermissionDenied(f"{entry.name} has no right to {right}")
        if entry.models is not None and model not in entry.models:
            what = f"model {model!r}" if model else "the whole server"
            raise PermissionDenied(f"{entry.name} has no right to {what}")
        return entry.name


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
