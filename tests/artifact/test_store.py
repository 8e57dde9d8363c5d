"""Artifacts on disk: published completely or not at all, one version for each publisher, and read only if intact."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tiny_artifact import publish_tiny

from cvserve.artifact import Manifest, models, publish, read, resolve, versions
from cvserve.errors import ArtifactError, InvalidInput, NotFound


def edit(directory: Path, change) -> None:
    file = directory / "manifest.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_versions_count_up(tmp_path: Path) -> None:
    first, second = publish_tiny(tmp_path / "colour"), publish_tiny(tmp_path / "colour")
    assert (first.version, second.version) == (1, 2)
    assert second.directory == tmp_path / "colour" / "2"
    assert read(tmp_path / "colour").version == 2
    assert read(tmp_path / "colour", 1).manifest == first.manifest
    assert read(tmp_path / "colour" / "1").version == 1
    shutil.rmtree(tmp_path / "colour" / "1")
    assert publish_tiny(tmp_path / "colour").version == 3  # a number is not used again while a later one is there


def test_only_positive_whole_numbers_are_versions(tmp_path: Path) -> None:
    for name in ("2", "10", "0", "-1", "1.5", "v3", "٣", ".building-x"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file")
    assert list(versions(tmp_path)) == [2, 10]
    assert versions(tmp_path / "nothing") == {}


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build(directory: Path, version: int) -> Manifest:
        (directory / "model.onnx").write_bytes(b"half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        publish(tmp_path / "colour", build)
    assert not (tmp_path / "colour").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError, match="no"):
        publish(tmp_path / "empty", build)
    assert os.listdir(tmp_path / "empty") == [], "a directory that was there stays"


def test_files_of_a_killed_build_are_removed_after_a_day(tmp_path: Path) -> None:
    for name, hours in (("old", 25), ("young", 23)):
        staging = tmp_path / "colour" / f".building-{name}"
        staging.mkdir(parents=True)
        (staging / "model.onnx").write_bytes(b"half")
        then = time.time() - hours * 3600
        os.utime(staging, (then, then))
    publish_tiny(tmp_path / "colour")
    assert sorted(os.listdir(tmp_path / "colour")) == [".building-young", "1"]


def test_a_version_copied_to_another_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = publish_tiny(tmp_path / "colour").directory
    shutil.copytree(directory, tmp_path / "colour" / "5")
    with pytest.raises(ArtifactError, match=r"colour/5 holds version 1, as its manifest\.json says"):
        read(tmp_path / "colour")
    monkeypatch.chdir(tmp_path / "colour" / "5")
    with pytest.raises(ArtifactError, match="holds version 1"):
        read(".")
    shutil.copytree(directory, tmp_path / "latest")
    assert read(tmp_path / "latest").version == 1


def test_a_version_is_not_visible_before_it_is_complete(tmp_path: Path) -> None:
    model = tmp_path / "colour"
    built = publish_tiny(tmp_path / "source").directory
    seen: list[dict[int, Path]] = []

    def build(directory: Path, version: int) -> Manifest:
        shutil.copy(built / "model.onnx", directory)
        seen.append(versions(model))
        assert list(models(tmp_path)) == [tmp_path / "source"]
        return read(built).manifest

    publish(model, build)
    assert seen == [{}]
    assert list(versions(model)) == [1]


def test_a_reader_beside_publishers_never_sees_half_a_model(tmp_path: Path) -> None:
    """Four publishers at once get four numbers, while a reader reads the newest all the time."""
    model = tmp_path / "colour"
    publish_tiny(model)
    stop = threading.Event()
    faults: list[BaseException] = []
    reads = 0

    def reader() -> None:
        nonlocal reads
        while not stop.is_set():
            try:
                read(model)
                reads += 1
            except BaseException as error:  # noqa: BLE001  the main thread raises it
                faults.append(error)
                return

    thread = threading.Thread(target=reader)
    thread.start()
    with ThreadPoolExecutor(4) as pool:
        published = list(pool.map(lambda _: publish_tiny(model), range(12)))
    stop.set()
    thread.join()
    assert not faults
    assert reads > 0
    assert sorted(item.version for item in published) == list(range(2, 14))
    for item in published:
        again = read(item.directory)
        assert again.manifest.version == int(item.directory.name) == item.version
    assert sorted(os.listdir(model), key=int) == [str(number) for number in range(1, 14)]


def test_publishers_in_several_processes_get_a_number_each(tmp_path: Path) -> None:
    model = tmp_path / "colour"
    code = (
        "import sys; from pathlib import Path; from tiny_artifact import publish_tiny; publish_tiny(Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    running = [subprocess.Popen([sys.executable, "-c", code, str(model)], env=environment) for _ in range(3)]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    assert list(versions(model)) == [1, 2, 3]
    assert [read(model, number).version for number in (1, 2, 3)] == [1, 2, 3]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "colour").write_text("")
    with pytest.raises(InvalidInput, match="is a file; give the directory of a model"):
        publish_tiny(tmp_path / "colour", name="colour")


def test_published_files_can_be_read_by_others(tmp_path: Path) -> None:
    assert publish_tiny(tmp_path / "colour").directory.stat().st_mode & 0o755 == 0o755


def test_every_change_of_a_file_is_noticed(tmp_path: Path) -> None:
    directory = publish_tiny(tmp_path / "colour").directory
    file = directory / "model.onnx"
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole + b"\0", bytes([whole[0] ^ 1]) + whole[1:]):
        file.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"model\.onnx does not match its hash"):
            read(directory)
    assert read(directory, verify=False).name == "colour"
    file.unlink()
    with pytest.raises(ArtifactError, match=r"incomplete: model\.onnx is missing"):
        read(directory)


def test_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    directory = publish_tiny(tmp_path / "colour").directory
    shutil.move(directory / "model.onnx", tmp_path / "elsewhere.onnx")
    (directory / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(ArtifactError, match=r"unsafe: model\.onnx leads out of it"):
        read(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(schema_version=99), r"manifest\.json cannot be used: schema_version: "),
        (lambda content: content.pop("task"), r"cannot be used: task: Field required"),
        (
            lambda content: content["graphs"][0]["files"][0].update(path="../../x"),
            r"graphs\.0\.files\.0\.path: .*leave",
        ),
        (lambda content: content.update(surprise=1), r"surprise: Extra inputs"),
    ],
)
def test_the_error_of_an_invalid_manifest_names_the_key(tmp_path: Path, change, message: str) -> None:
    directory = publish_tiny(tmp_path / "colour").directory
    edit(directory, change)
    with pytest.raises(ArtifactError, match=message):
        read(directory)


def test_a_manifest_that_is_not_json_is_refused(tmp_path: Path) -> None:
    directory = publish_tiny(tmp_path / "colour").directory
    (directory / "manifest.json").write_bytes(b'{"name": "col')
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be used: the document: "):
        read(directory)


def test_resolving_a_path(tmp_path: Path) -> None:
    model = tmp_path / "colour"
    publish_tiny(model)
    publish_tiny(model)
    assert resolve(model) == model / "2"
    assert resolve(model, 1) == model / "1"
    assert resolve(str(model / "1")) == model / "1"
    with pytest.raises(NotFound, match=r"has no version 3; it has 1, 2"):
        resolve(model, 3)
    with pytest.raises(NotFound, match="no model at"):
        resolve(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match=r"is not a model: it holds neither manifest\.json nor a version"):
        resolve(tmp_path / "empty")
    (model / "3").mkdir()  # a plain TensorFlow Serving model, say
    with pytest.raises(ArtifactError, match=r"has no manifest\.json; make one with cvserve import"):
        read(model)


def test_asking_a_version_directory_for_another_version_is_refused(tmp_path: Path) -> None:
    directory = publish_tiny(tmp_path / "colour").directory
    assert resolve(directory, 1) == directory
    with pytest.raises(NotFound, match="version 2"):
        resolve(directory, 2)


def test_the_models_of_a_repository(tmp_path: Path) -> None:
    publish_tiny(tmp_path / "b")
    publish_tiny(tmp_path / "a")
    (tmp_path / "notes").mkdir()
    (tmp_path / ".hidden" / "1").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    assert [path.name for path in models(tmp_path)] == ["a", "b"]
    with pytest.raises(NotFound, match="no model repository"):
        list(models(tmp_path / "nothing"))
