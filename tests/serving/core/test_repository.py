"""The models and versions that are found on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from serving_kit import repository
from tiny_artifact import publish_tiny

from cvserve.errors import InvalidInput, NotFound
from cvserve.serving.core.repository import Repository, check_inside, fingerprint, readable_versions, versions_in
from cvserve.serving.core.settings import ModelConfig
from cvserve.serving.core.version_policy import Latest, Specific
from cvserve.serving.settings import ServerSettings


def test_versions_are_directories_named_by_a_number(tmp_path: Path) -> None:
    for name in (
        "1",
        "00000123",
        "0",
        "9223372036854775807",
        "9223372036854775808",
        "-1",
        "1.5",
        "x",
        ".2",
        "٣",
        "9" * 50,
    ):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file")
    assert versions_in(tmp_path) == {
        0: tmp_path / "0",
        1: tmp_path / "1",
        123: tmp_path / "00000123",
        2**63 - 1: tmp_path / "9223372036854775807",
    }


def test_one_of_two_directories_for_the_same_version_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "001").mkdir()
    assert versions_in(tmp_path) == {1: tmp_path / "001"}
    assert "are both version 1" in caplog.text


def test_a_version_may_be_served_by_itself(tmp_path: Path) -> None:
    version = tmp_path / "half_plus_two" / "00000123"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    [config] = Repository(version, ServerSettings()).configs()
    assert (config.name, versions_in(config.base_path)) == ("half_plus_two", {123: version})
    plain = tmp_path / "edge"
    plain.mkdir()
    (plain / "model.tflite").touch()
    [config] = Repository(plain, ServerSettings()).configs()
    assert (config.name, versions_in(config.base_path)) == ("edge", {1: plain})


def test_a_repository_stays_a_repository_while_models_are_added_and_removed(tmp_path: Path) -> None:
    root = repository(tmp_path / "models", "a", "b")
    found = Repository(root, ServerSettings())
    assert found.names() == ["a", "b"]
    (root / "empty").mkdir()
    (root / ".hidden" / "1").mkdir(parents=True)
    (root / "b").rename(root / "2")
    assert found.names() == ["2", "a"]
    with pytest.raises(NotFound, match="the repository has no model 'b'"):
        found.config("b")


def test_a_name_that_is_not_text_is_skipped(tmp_path: Path) -> None:
    root = repository(tmp_path / "models")
    try:
        (root / os.fsdecode(b"m\xff") / "1").mkdir(parents=True)
    except OSError:
        pytest.skip("this disk takes no such name")
    assert Repository(root, ServerSettings()).names() == ["colours"]


def test_a_directory_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    root = repository(tmp_path / "models", "a", "b")
    found = Repository(root, ServerSettings())
    (root / "b").chmod(0)
    try:
        assert found.names() == ["a"]
        assert found.names(known=["b"]) == ["a", "b"]
    finally:
        (root / "b").chmod(0o755)


def test_settings_give_the_policy_and_labels(tmp_path: Path) -> None:
    root = repository(tmp_path / "models", "a", "b")
    settings = ServerSettings.model_validate(
        {"versions": "latest 2", "models": {"b": {"versions": [1, 3], "labels": {"stable": 1}}}}
    )
    a, b = Repository(root, settings).configs()
    assert (a.policy, a.labels) == (Latest(2), {})
    assert (b.policy, b.labels) == (Specific((1, 3)), {"stable": 1})


@pytest.mark.parametrize("name", ["..", ".", "", "../outside", "/etc", "a/../../outside", "a\0"])
def test_names_cannot_leave_the_repository(tmp_path: Path, name: str) -> None:
    found = Repository(repository(tmp_path / "models", "a"), ServerSettings())
    with pytest.raises(InvalidInput, match="is not the name of a model"):
        found.config(name)


def test_paths_and_links_cannot_leave_the_repository(tmp_path: Path) -> None:
    root = repository(tmp_path / "models", "a")
    outside = repository(tmp_path / "elsewhere", "secret")
    (root / "link").symlink_to(outside / "secret")
    (root / "inner").symlink_to(root / "a")
    linked_root = tmp_path / "linked"
    linked_root.symlink_to(root)
    check_inside(root / "a", [root], "it")
    check_inside(root / "inner" / "1", [root], "it")
    check_inside(root / "a", [linked_root], "it")
    check_inside(Path("/etc"), None, "it")
    for path in (
        root / "link",
        root / "link" / "1",
        outside,
        root / ".." / "elsewhere",
        Path("/"),
        tmp_path / "models2",
    ):
        with pytest.raises(InvalidInput, match=r"it: .* lies outside the model repository"):
            check_inside(path, [root], "it")


def test_impossible_paths_are_not_found(tmp_path: Path) -> None:
    root = repository(tmp_path / "models", "a")
    (root / "one").symlink_to(root / "other")
    (root / "other").symlink_to(root / "one")
    for name in ("a" * 300, "one", "a" * 300 + "/1"):
        check_inside(root / name, [root], "it")
        with pytest.raises(NotFound, match="Could not find base path"):
            readable_versions(ModelConfig("m", root / name))
    for name in ("a" * 300, "one"):
        with pytest.raises(NotFound, match="the repository has no model"):
            Repository(root, ServerSettings()).config(name)


def test_a_fingerprint_changes_with_every_file(tmp_path: Path) -> None:
    directory = publish_tiny(tmp_path / "a").directory
    seen = {fingerprint(directory)}
    assert fingerprint(directory) in seen
    (directory / "variables").mkdir()
    (directory / "variables" / "data").write_bytes(b"1")
    seen.add(fingerprint(directory))
    (directory / "variables" / "data").write_bytes(b"12")
    seen.add(fingerprint(directory))
    os.utime(directory / "variables" / "data", ns=(0, 0))
    seen.add(fingerprint(directory))
    (directory / "variables" / "data").unlink()
    # As at first: a directory without files has nothing to read.
    assert fingerprint(directory) in seen
    assert len(seen) == 4
    (directory / "dangling").symlink_to("nowhere")
    assert fingerprint(directory) in seen
