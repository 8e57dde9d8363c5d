"""The server's settings from a file, a mapping and flags."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from cvserve.errors import InvalidInput, NotFound
from cvserve.serving import ServerSettings, load_settings


def test_a_file_with_settings_for_all_models_and_for_one(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text(
        "port: 9000\nmax_batch_size: 8\nbatch_delay_ms: 2\n"
        "models:\n  flowers:\n    max_batch_size: 4\n    allowed_batch_sizes: [1, 2, 4]\n    runtime: onnx\n"
    )
    settings = load_settings(file)
    assert settings.port == 9000
    other = settings.of_model("other")
    assert (other.max_batch_size, other.runtime) == (8, "auto")
    flowers = settings.of_model("flowers")
    assert (flowers.max_batch_size, flowers.runtime, flowers.batch_delay_ms) == (4, "onnx", 2)
    limits = flowers.limits(4)
    assert (limits.max_rows, limits.delay, limits.allowed_rows) == (4, 0.002, (1, 2, 4))


def test_flags_override_the_file_if_they_are_given(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("port: 9000\nbatching: false\n")
    settings = load_settings(file, port=0, batching=None)
    assert settings.port == 0
    assert settings.batching is False
    assert load_settings(settings, host="127.0.0.1").model_dump(exclude_unset=True) == {
        "port": 0,
        "batching": False,
        "host": "127.0.0.1",
    }
    assert load_settings(None) == ServerSettings()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"max_batch": 4}, "unknown key 'max_batch'; did you mean 'max_batch_size'?"),
        ({"models": {"flowers": {"instance": 2}}}, "unknown key 'models.flowers.instance'; did you mean 'instances'?"),
        ({"port": 70000}, "port = 70000 cannot be used"),
        ({"runtime": "torch"}, "runtime = 'torch' cannot be used"),
        ({"instances": 0}, "instances = 0 cannot be used"),
        ({"allowed_batch_sizes": [4, 2]}, "allowed_batch_sizes must ascend"),
        (
            {"allowed_batch_sizes": [1, 2], "max_batch_size": 4},
            "Last entry in allowed_batch_sizes must match max_batch_size",
        ),
    ],
)
def test_invalid_settings_are_one_sentence(values: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        load_settings(values)
    assert text in str(error.value)


@pytest.mark.parametrize(
    "values", [{"tokens": [{"token": "of-nobody"}]}, {"tls": {"certificate": "c", "key": ["of-nobody"]}}]
)
def test_errors_show_no_secrets(values: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="cannot be used") as error:
        load_settings(values)
    assert "of-nobody" not in "".join(traceback.format_exception(error.value))


def test_a_models_own_settings_must_fit_the_common_ones() -> None:
    settings = load_settings({"allowed_batch_sizes": [1, 4], "models": {"m": {"max_batch_size": 8}}})
    with pytest.raises(InvalidInput, match=r"the settings of model 'm'.*must match max_batch_size"):
        settings.of_model("m")


def test_sources_that_are_not_settings(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no settings file"):
        load_settings(tmp_path / "none.yaml")
    with pytest.raises(InvalidInput, match="must be a file or a mapping, not int"):
        load_settings(3)  # type: ignore[arg-type]
