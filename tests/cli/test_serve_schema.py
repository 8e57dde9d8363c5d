"""`cvserve serve --schema`: the schema that editors use for server.yaml."""

from __future__ import annotations

import json

import pytest

from cvserve.cli.main import main


def test_the_schema_describes_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["serve", "--schema"])
    assert end.value.code == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["additionalProperties"] is False
    for owner in (schema, *schema["$defs"].values()):
        for name, setting in owner["properties"].items():
            assert setting.get("description"), f"{owner['title']}.{name} has no docstring"
    assert schema["properties"]["port"]["default"] == 8500
    assert "TlsSettings" in schema["$defs"]
