"""The meaning of the paths of the REST API."""

from __future__ import annotations

import pytest

from cvserve.errors import InvalidInput
from cvserve.serving.core.engine import ModelRef
from cvserve.serving.protocols.tensorflow_serving.rest.paths import Route, route


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("POST", "/v1/models/m:predict", Route("predict", ModelRef("m"))),
        ("POST", "/v1/models/m/versions/7:classify", Route("classify", ModelRef("m", 7))),
        ("POST", "/v1/models/m/labels/stable:regress", Route("regress", ModelRef("m", None, "stable"))),
        ("GET", "/v1/models/m", Route("status", ModelRef("m"))),
        ("GET", "/v1/models/m/versions/0009223372036854775807", Route("status", ModelRef("m", 2**63 - 1))),
        ("GET", "/v1/models/m/labels/a%20b", Route("status", ModelRef("m", None, "a b"))),
        ("GET", "/v1/models/m/metadata", Route("metadata", ModelRef("m"))),
        ("GET", "/v1/models/m/versions/3/metadata", Route("metadata", ModelRef("m", 3))),
        # Upper and lower case are the same, but in names.
        ("POST", "/V1/MODELS/Mm/Versions/1:PREDICT", Route("predict", ModelRef("Mm", 1))),
        ("GET", "/v1/Models/m/METADATA", Route("metadata", ModelRef("m"))),
        # Names are decoded, after the path was taken apart.
        ("POST", "/v1/models/a%2Fb%3Ac:predict", Route("predict", ModelRef("a/b:c"))),
        ("POST", "/v1/models/%E2%82%AC:predict", Route("predict", ModelRef("\u20ac"))),
        ("GET", "/v1/models/metadata", Route("status", ModelRef("metadata"))),
    ],
)
def test_the_request_of_a_path(method: str, path: str, wanted: Route) -> None:
    assert route(method, path) == wanted


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/foo"),
        ("POST", "/v1/models"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/a/b"),
        ("GET", "/v1/models/m:predict"),
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m/metadata"),
        ("POST", "/v1/models/m:explain"),
        ("POST", "/v1/models/m/version/50:predict"),
        ("POST", "/v1/models/m/versions/HELLO:regress"),
        ("POST", "/v1/models/m/versions/-1:regress"),
        ("POST", "/v1/models/m/versions/\u0663:regress"),
        ("POST", "/v1/models/m/versions/50/labels/x:regress"),
        ("POST", "/v1/models/m:predict/"),
        ("POST", "/v1/models/m%3Apredict"),
        ("POST", "/v1/models/../../etc/passwd:predict"),
        ("DELETE", "/v1/models/m"),
    ],
)
def test_other_paths_are_malformed(method: str, path: str) -> None:
    with pytest.raises(InvalidInput) as error:
        route(method, path)
    assert str(error.value) == f"Malformed request: {method} {path}"


def test_other_faults() -> None:
    with pytest.raises(InvalidInput, match=r"^Missing model name in request\.$"):
        route("GET", "/v1/models")
    with pytest.raises(InvalidInput, match=r"^Failed to decode model name:%FF$"):
        route("GET", "/v1/models/%FF")
    for version in ("9223372036854775808", "9" * 100_000):
        with pytest.raises(InvalidInput, match=r"^Failed to convert version: 9+"):
            route("GET", f"/v1/models/m/versions/{version}")
