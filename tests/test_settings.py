"""Outside settings: what YAML cannot read is one sentence."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from cvserve.errors import InvalidInput
from cvserve.settings import parse, read_yaml, with_overrides


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[", "expected the node content"),
        ("2024-13-01", "month must be in 1..12"),
        ("9" * 5000, "Exceeds the limit"),
        ("[" * 5000, "it is too deep"),
        ("\a", "special characters are not allowed"),
    ],
    ids=["syntax", "a 13th month", "digits", "depth", "a bell"],
)
def test_values_that_yaml_cannot_read(tmp_path: Path, value: str, reason: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"port: {value}\n")
    with pytest.raises(InvalidInput, match=f"is not valid YAML: .*{reason}"):
        read_yaml(file)
    with pytest.raises(InvalidInput, match="is not a YAML value"):
        with_overrides({}, [f"port={value}"])


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(b"port: \xff")
    with pytest.raises(InvalidInput, match="is not valid YAML: invalid start byte"):
        read_yaml(file)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("port: 1\nhost: a\n'port': 2\n", "line 3: key 'port' is given twice, first in line 1"),
        ("models:\n  a: {}\n# more\nmodels:\n  b: {}\n", "line 4: key 'models' is given twice, first in line 1"),
        ("models:\n  a: {threads: 1}\n  a: {}\n", "line 3: key 'a' is given twice, first in line 2"),
        ("list:\n- {a: 1, b: 2, a: 3}\n", "line 2: key 'a' is given twice, first in line 2"),
        ('{"port": 1,\n "port": 1}', "line 2: key 'port' is given twice, first in line 1"),
    ],
    ids=["quoted or not", "blocks", "below", "in braces", "JSON"],
)
def test_a_key_that_is_given_twice(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        read_yaml(file)
    assert str(caught.value) == f"{file}, {sentence}"


def test_a_key_that_is_given_twice_in_a_value() -> None:
    with pytest.raises(InvalidInput, match=r"^'models=\{a: 1, a: 2\}': key 'a' is given twice$"):
        with_overrides({}, ["models={a: 1, a: 2}"])


def test_merged_keys_may_be_given_again(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    # c merges what is itself merged and not yet built; the keys of b are there twice once `<<` is followed.
    file.write_text(
        "base: &base {threads: 1, runtime: onnx}\n"
        "more: &more {instances: 3}\n"
        "models:\n"
        "  b: &b {<<: *base, threads: 2}\n"
        "  c:\n"
        "    <<: *b\n"
        "    <<: *more\n"
        "    threads: 3\n"
        "  d: {<<: [*b, *more]}\n"
        "1: a number\n"
        "'1': a text\n"
    )
    assert read_yaml(file) == {
        "base": {"threads": 1, "runtime": "onnx"},
        "more": {"instances": 3},
        "models": {
            "b": {"threads": 2, "runtime": "onnx"},
            "c": {"threads": 3, "runtime": "onnx", "instances": 3},
            "d": {"threads": 2, "runtime": "onnx", "instances": 3},
        },
        1: "a number",
        "1": "a text",
    }


def test_secret_values_are_not_shown(tmp_path: Path) -> None:
    class Settings(BaseModel):
        port: int

    with pytest.raises(InvalidInput, match=r"^the file: port cannot be used: input should be a valid integer"):
        parse(Settings, {"port": "hidden"}, "the file", secret=True)
    file = tmp_path / "settings.yaml"
    file.write_text("port: 1\nother: {hidden\n")
    with pytest.raises(InvalidInput) as caught:
        read_yaml(file, secret=True)
    assert str(caught.value) == f"{file}, line 3, is not valid YAML"


def test_a_line_that_yaml_cannot_read_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("port: 1\ntokens: [{token: of-nobody}\n")
    with pytest.raises(InvalidInput) as caught:
        read_yaml(file)
    assert "of-nobody" not in "".join(traceback.format_exception(caught.value))
    assert "line 3, is not valid YAML: expected ',' or ']'" in str(caught.value)


def test_a_secret_in_the_place_of_a_key_is_not_shown(tmp_path: Path) -> None:
    class One(BaseModel):
        model_config = ConfigDict(extra="forbid")
        name: str = ""

    with pytest.raises(InvalidInput, match="it has an unknown key; known: name") as caught:
        parse(One, {"of-nobody": 1}, "f", secret=True)
    assert "of-nobody" not in str(caught.value)


def test_values_without_end_make_short_sentences() -> None:
    class Settings(BaseModel):
        port: int

    for deep in ("port." + ".".join("a" * 5000) + "=1", f"port={'x' * 5000}"):
        with pytest.raises(InvalidInput, match=r"port = .* cannot be used") as caught:
            parse(Settings, with_overrides({}, [deep]), "the flags")
        assert len(str(caught.value)) < 500
