"""Outside settings: what YAML cannot read is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from cvserve.errors import InvalidInput
from cvserve.settings import parse, read_yaml, with_overrides


@pytest.mark.parametrize(
    "value", ["[", "2024-13-01", "9" * 5000, "[" * 5000], ids=["syntax", "a 13th month", "digits", "depth"]
)
def test_values_that_yaml_cannot_read(tmp_path: Path, value: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"port: {value}\n")
    with pytest.raises(InvalidInput, match="is not valid YAML"):
        read_yaml(file)
    with pytest.raises(InvalidInput, match="is not a YAML value"):
        with_overrides({}, [f"port={value}"])


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="is not valid YAML"):
        read_yaml(file)


def test_values_without_end_make_short_sentences() -> None:
    class Settings(BaseModel):
        port: int

    for deep in ("port." + ".".join("a" * 5000) + "=1", f"port={'x' * 5000}"):
        with pytest.raises(InvalidInput, match=r"port = .* cannot be used") as caught:
            parse(Settings, with_overrides({}, [deep]), "the flags")
        assert len(str(caught.value)) < 500
