"""What a vocabulary must be."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cvserve.artifact import PostprocSpec, Vocabulary
from cvserve.artifact.vocabulary import SPECIAL


def vocabulary(*tokens: str, **changes: Any) -> Vocabulary:
    return Vocabulary.model_validate({"kind": "words", "tokens": (*SPECIAL, *tokens), "length": 5} | changes)


def test_goes_through_json_with_every_character() -> None:
    spec = PostprocSpec(vocabulary=vocabulary("▁chó", "狗", "n't", "▁🌼"))
    assert PostprocSpec.model_validate_json(spec.model_dump_json()) == spec
    assert len(spec.vocabulary or ()) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": SPECIAL}, "at least 5"),
        ({"tokens": ("a", *SPECIAL)}, "begins with <pad>, <start>, <end>, <unk>"),
        ({"tokens": (*SPECIAL, "a", "b", "a")}, "'a' is there twice"),
        ({"tokens": (*SPECIAL, "a", "")}, "token 5 is empty"),
        ({"length": 2}, "greater than or equal to 3"),
        ({"kind": "letters"}, "words"),
    ],
)
def test_what_is_none(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        vocabulary("a", **changes)
