"""The file of tokens: which requests it allows and refuses, and that it can be replaced."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import pytest

from cvserve.errors import InvalidInput, NotFound, PermissionDenied, Unauthenticated
from cvserve.serving.security import Access, watched
from cvserve.serving.security.watched import Watched

FILE = f"""
tokens:
  - {{name: cameras, token: camera-secret, rights: [inference], models: [flowers, birds]}}
  - {{name: operators, sha256: {hashlib.sha256(b"operator-secret").hexdigest()}, rights: [management]}}
  - {{name: everything, token: root-secret, rights: [inference, management], models: all}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.yaml"
    path.write_text(FILE)
    return path


def test_rights_and_models(file: Path) -> None:
    access = Access(file)
    assert access.required
    assert access.authorize("Bearer camera-secret", "inference", "flowers") == "cameras"
    assert access.authorize("bearer root-secret", "management", "") == "everything"
    assert access.authorize("Bearer operator-secret", "management", "birds") == "operators"
    with pytest.raises(PermissionDenied, match="cameras has no right to model 'trees'"):
        access.authorize("Bearer camera-secret", "inference", "trees")
    with pytest.raises(PermissionDenied, match="no right to the whole server"):
        access.authorize("Bearer camera-secret", "inference", "")
    with pytest.raises(PermissionDenied, match="cameras has no right to management"):
        access.authorize("Bearer camera-secret", "management", "flowers")
    with pytest.raises(PermissionDenied, match="operators has no right to inference"):
        access.authorize("Bearer operator-secret", "inference", "flowers")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "camera-secret",
        "Basic camera-secret",
        "Bearer",
        "Bearer ",
        "Bearer camera-secre",
        "Bearer \udcff\u00e9",
    ],
)
def test_unknown_tokens(file: Path, header: str | None) -> None:
    with pytest.raises(Unauthenticated) as error:
        Access(file).authorize(header, "inference", "flowers")
    assert "secre" not in str(error.value)


def test_without_a_file_every_request_is_allowed() -> None:
    access = Access()
    assert not access.required
    assert access.authorize(None, "management", "") == ""


@pytest.mark.parametrize(
    "text",
    [
        "tokens: [{token: top-secret-value, rights: [everything]}]",
        "tokens: [{token: top-secret-value, sha256: 00}]",
        "tokens: [{rights: [inference]}]",
        "tokens: [{token: short}]",
        "tokens: top-secret-value",
        "top-secret-value",
        "tokens: [{token: top-secret-value, rihgts: [inference]}]",
        "tokens: [ {token: top-secret-value",
    ],
)
def test_the_error_of_a_broken_file_shows_no_secret(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as error:
        Access(path)
    assert "top-secret" not in str(error.value)
    assert "short" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tokens: [{token: short}]", ": tokens.0.token cannot be used: string should have at least 8 characters ("),
        ("tokens: [{sha256: abc}]", ": tokens.0.sha256 cannot be used: string should match pattern"),
        ("tokens: [{name: cameras}]", ": tokens.0 cannot be used: a token needs either token or sha256 ("),
        (
            "tokens: [{token: long-enough, rights: [everything]}]",
            ": tokens.0.rights.0 cannot be used: input should be 'inference' or 'management' (",
        ),
        ("tokens:\n- token: long-enough\n  token: another-one\n", ", line 3: a key is given twice, first in line 2"),
        (
            "- {token: long-enough}",
            " must be a mapping of keys to values, not list (the file has the key tokens and under it a list",
        ),
    ],
    ids=["short", "digest", "neither", "right", "twice", "bare list"],
)
def test_a_broken_file_is_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as error:
        Access(path)
    assert str(error.value).startswith(f"{path}{reason}")
    assert error.value.__suppress_context__, "a traceback would quote the values"
    assert "long-enough" not in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"^no file of tokens at .*nowhere\.yaml$"):
        Access(tmp_path / "nowhere.yaml")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_changed_file_is_read_again_and_a_broken_one_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "number", Clock()
    path.write_text("1")
    number = Watched([path], lambda: int(path.read_text()), clock=clock)
    assert number.get() == 1
    path.write_text("22")
    assert number.get() == 1, "it is not looked at for every request"
    clock.now += watched.CHECK_SECONDS
    assert number.get() == 22
    path.write_text("half wri")
    clock.now += watched.CHECK_SECONDS
    with caplog.at_level(logging.ERROR):
        assert number.get() == 22, "what was good stays"
    assert "cannot be used" in caplog.text
    # Replaced by renaming, as deployments do: same size, maybe the same time.
    other = tmp_path / "other"
    other.write_text("33")
    os.utime(other, ns=(0, 0))
    os.replace(other, path)
    clock.now += watched.CHECK_SECONDS
    assert number.get() == 33
    path.unlink()
    clock.now += watched.CHECK_SECONDS
    assert number.get() == 33


def test_a_secret_mounted_through_links_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Kubernetes: tokens.yaml -> ..data/tokens.yaml, ..data -> a directory that is exchanged as a whole.
    monkeypatch.setattr(watched, "CHECK_SECONDS", 0.0)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokens.yaml").write_text(f"tokens: [{{token: secret-{name:8}}}]")
    data = tmp_path / "..data"
    data.symlink_to("first")
    (tmp_path / "tokens.yaml").symlink_to("..data/tokens.yaml")
    access = Access(tmp_path / "tokens.yaml")
    access.authorize("Bearer secret-first", "inference", "flowers")
    (tmp_path / "new").symlink_to("second")
    os.replace(tmp_path / "new", data)
    access.authorize("Bearer secret-second", "inference", "flowers")
    with pytest.raises(Unauthenticated):
        access.authorize("Bearer secret-first", "inference", "flowers")
