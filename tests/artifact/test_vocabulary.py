"""What a vocabulary must be."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cvserve.artifact import CaptioningPostproc, Manifest, Vocabulary
from cvserve.artifact.vocabulary import SPECIAL


def vocabulary(*tokens: str, **changes: Any) -> Vocabulary:
    return Vocabulary.model_validate({"kind": "words", "tokens": (*SPECIAL, *tokens), "length": 5} | changes)


def test_goes_through_json_with_every_character() -> None:
    spec = CaptioningPostproc(vocabulary=vocabulary("▁chó", "狗", "n't", "▁🌼"))
    assert CaptioningPostproc.model_validate_json(spec.model_dump_json()) == spec
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
def test_invalid_vocabularies_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        vocabulary("a", **changes)


def manifest(**changes: Any) -> Manifest:
    known = {"name": "teller", "version": 1, "task": "captioning", "preproc": {"height": 8, "width": 8}}
    known |= {"postproc": {"vocabulary": vocabulary("▁a").model_dump()}}
    known |= {"outputs": [{"name": name, "role": name} for name in ("token_ids", "log_probability")]}
    known |= {"graphs": [{"format": "onnx", "files": [{"path": "model.onnx", "bytes": 1, "sha256": "0" * 64}]}]}
    return Manifest.model_validate(known | changes)


def test_a_captioner_has_a_vocabulary_and_both_outputs() -> None:
    assert manifest().task == "captioning"
    with pytest.raises(ValidationError, match="vocabulary: Field required"):
        manifest(postproc={})
    with pytest.raises(ValidationError, match="needs an output of role log_probability"):
        manifest(outputs=[{"name": "token_ids", "role": "token_ids"}])
    longer = [{"name": "token_ids", "role": "token_ids", "shape": [6]}, {"name": "p", "role": "log_probability"}]
    with pytest.raises(ValidationError, match="sentences of 6 tokens do not fit a vocabulary of 5"):
        manifest(outputs=longer)
