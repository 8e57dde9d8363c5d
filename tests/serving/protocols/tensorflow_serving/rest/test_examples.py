"""tf.Examples in JSON."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("tensorflow")

from tensorflow.core.example import example_pb2

from cvserve.errors import InvalidInput
from cvserve.serving.protocols.tensorflow_serving.rest.examples import to_examples


def features(serialised: bytes) -> dict[str, tuple[str, list[Any]]]:
    example = example_pb2.Example.FromString(serialised)
    found = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind") or ""
        found[name] = (kind, list(getattr(feature, kind).value) if kind else [])
    return found


def test_the_examples_of_tensorflow_serving() -> None:
    found = to_examples(
        {
            "context": {"query": "pizza", "location": ["sfo"]},
            "examples": [
                {"names": ["foo", {"b64": "aGVsbG8="}], "ratings": [8.0, 9.5, float("inf")], "age": 20},
                {"mixed": [1, True, False], "nothing": [], "ratings": -1.5},
            ],
        }
    )
    assert found.context is not None
    assert features(found.context) == {"query": ("bytes_list", [b"pizza"]), "location": ("bytes_list", [b"sfo"])}
    assert features(found.examples[0]) == {
        "names": ("bytes_list", [b"foo", b"hello"]),
        "ratings": ("float_list", [8.0, 9.5, float("inf")]),
        "age": ("int64_list", [20]),
    }
    assert features(found.examples[1]) == {
        "mixed": ("int64_list", [1, 1, 0]),
        "nothing": ("", []),
        "ratings": ("float_list", [-1.5]),
    }
    assert to_examples({"examples": [{}]}).context is None


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({}, "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
        ({"examples": {}}, "JSON Value: {\"examples\": {}} Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "JSON Value: {\"examples\": []} 'examples' value is an empty array"),
        ({"examples": ["x"]}, "Example must be JSON object but got JSON String"),
        ({"examples": [{}], "context": 1}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [[1]]}]}, "Feature: x has element with unexpected JSON type: Array"),
        ({"examples": [{"x": {"a": 1}}]}, "Feature: x has element with unexpected JSON type: Object"),
        ({"examples": [{"x": [1, 2.0]}]}, "Unexpected element type in feature: x expecting type: int64"),
        ({"examples": [{"x": [1.0, "a"]}]}, "Unexpected element type in feature: x expecting type: float"),
        ({"examples": [{"x": ["a", 1]}]}, "Unexpected element type in feature: x expecting type: bytes"),
        ({"examples": [{"x": 2**63}]}, "Feature: x has uint64 element. Only int64 is supported."),
        ({"examples": [{"x": {"b64": "!"}}]}, "Unable to base64 decode"),
    ],
)
def test_faults(document: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        to_examples(document)
    assert str(error.value) == text


def test_numbers_and_names_that_do_not_fit_are_the_clients_fault() -> None:
    assert features(to_examples({"examples": [{"x": [1e300]}]}).examples[0]) == {"x": ("float_list", [float("inf")])}
    with pytest.raises(InvalidInput, match="is not UTF-8"):
        to_examples({"examples": [{"\udcff": 1}]})
