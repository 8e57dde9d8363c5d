"""The table of error codes."""

from __future__ import annotations

import grpc
import pytest

from cvserve import errors
from cvserve.serving.errors import INTERNAL, STATUS_OF, status_of, text_of


def kinds() -> list[type[errors.CvserveError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    return [kind for kind in found if issubclass(kind, errors.CvserveError) and kind is not errors.CvserveError]


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_of_error_has_a_code(kind: type[errors.CvserveError]) -> None:
    made = kind("thing", "reason") if kind is errors.ImageError else kind("reason")  # type: ignore[call-arg]
    status = status_of(made)
    assert getattr(grpc.StatusCode, status.grpc)
    assert any(base in STATUS_OF for base in kind.__mro__)


@pytest.mark.parametrize(
    ("error", "code", "http"),
    [
        (errors.ImageError("x.jpg", "bad"), "INVALID_ARGUMENT", 400),
        (errors.NotFound("x"), "NOT_FOUND", 404),
        (errors.Overloaded("x"), "RESOURCE_EXHAUSTED", 429),
        (errors.DeadlineExceeded("x"), "DEADLINE_EXCEEDED", 504),
        (errors.Unavailable("x"), "UNAVAILABLE", 503),
        (errors.FailedPrecondition("x"), "FAILED_PRECONDITION", 400),
        (errors.Unimplemented("x"), "UNIMPLEMENTED", 501),
        (errors.Cancelled("x"), "CANCELLED", 499),
        (ZeroDivisionError("x"), "INTERNAL", 500),
    ],
)
def test_the_codes_of_the_table(error: BaseException, code: str, http: int) -> None:
    assert (status_of(error).grpc, status_of(error).http) == (code, http)


def test_a_bug_is_internal_and_named() -> None:
    assert status_of(KeyError("labels")) is INTERNAL
    assert text_of(KeyError("labels")) == "internal error: KeyError: 'labels'"


def test_long_texts_are_cut_as_in_tensorflow_serving() -> None:
    assert text_of(errors.InvalidInput("x" * 1024)) == "x" * 1024
    assert text_of(errors.InvalidInput("x" * 1025)) == "x" * 1024 + "...TRUNCATED"
