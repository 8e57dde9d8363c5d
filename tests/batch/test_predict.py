"""`predict` with folders and a real (tiny) model: rows, order, bad files, batches, memory, killed runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_artifact import LABELS, publish_tiny, write_image

from cvserve.batch import Source, Sources, Summary, open_sink, predict
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.pipeline import Pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "colour"
    publish_tiny(directory)
    return directory


@pytest.fixture(scope="module")
def pipeline(model: Path) -> Iterator[Pipeline]:
    with Pipeline.load(model, runtime="onnx", threads=1) as opened:
        yield opened


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """25 images in three folders and three that cannot be used."""
    folder = tmp_path / "photos"
    for index in range(25):
        write_image(folder / f"{index % 3}" / f"{index:02}.png", LABELS[index % 3])
    (folder / "1" / "empty.jpg").write_bytes(b"")
    (folder / "1" / "text.jpg").write_text("hello")
    whole = write_image(folder / "2" / "short.png", "red", size=(300, 300))
    whole.write_bytes(whole.read_bytes()[:60])
    return folder


def run(
    pipeline: Pipeline | list[Pipeline], words: list, out: Path, resume: bool = False, **options
) -> tuple[Summary, list[dict]]:
    sources = Sources(words)
    with open_sink(out, resume=resume) as sink:
        summary = predict(pipeline, sources, sink, **options)
    return summary, [json.loads(line) for line in out.read_text().splitlines()]


def test_one_row_per_image_in_order_whatever_is_broken(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    summary, rows = run(pipeline, [photos], tmp_path / "r.jsonl", batch_size=4)
    assert [row["image"] for row in rows] == [source.name for source in Sources([photos])]
    assert (summary.done, summary.failed_count, summary.skipped) == (25, 3, 0)
    assert [name for name, _ in summary.failed] == ["1/empty.jpg", "1/text.jpg", "2/short.png"]
    assert 0 < summary.images_per_second < 25 / summary.seconds + 1
    for row in rows:
        if "error" in row:
            assert set(row) == {"image", "error"}
            assert row["image"] not in row["error"]
            continue
        assert set(row) == {"image", "task", "model", "version", "classes"}
        assert (row["task"], row["model"], row["version"]) == ("classification", "colour", 1)
        assert [set(item) for item in row["classes"]] == [{"label", "index", "score"}] * 3
        # The folder's name is the index of the colour.
        assert row["classes"][0]["index"] == int(row["image"].partition("/")[0])
        assert row["classes"][0]["label"] == LABELS[row["classes"][0]["index"]]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_under_one_is_refused(pipeline: Pipeline, photos: Path, batch_size: int) -> None:
    with pytest.raises(InvalidInput, match=f"batch size must be at least 1, not {batch_size}"):
        pipeline([photos / "0" / "00.png"], batch_size=batch_size)


@pytest.mark.parametrize(("instances", "batch_size", "workers"), [(1, 1, 1), (3, 3, 4), (2, 64, 2)])
def test_batches_threads_and_instances_change_nothing(
    pipeline: Pipeline, photos: Path, tmp_path: Path, instances: int, batch_size: int, workers: int
) -> None:
    _, expected = run(pipeline, [photos], tmp_path / "a.jsonl")
    many = [pipeline] * instances
    summary, rows = run(many, [photos], tmp_path / "b.jsonl", batch_size=batch_size, workers=workers)
    assert rows == expected
    assert (summary.done, summary.failed_count) == (25, 3)


def test_each_pipeline_runs_one_batch_at_a_time_and_all_of_them_run(
    pipeline: Pipeline, photos: Path, tmp_path: Path
) -> None:
    both, lock = threading.Barrier(2, timeout=30), threading.Lock()
    met = 0

    class Meeting(Pipeline):
        busy = False

        def run(self, prepared, options):
            nonlocal met
            assert not self.busy
            self.busy = True
            with lock:
                first_two = met < 2
                met += 1
            if first_two:
                both.wait()  # passes only if both pipelines run
            results = super().run(prepared, options)
            self.busy = False
            return results

    pair = [Meeting(pipeline.artifact, pipeline.runtime) for _ in range(2)]
    summary, _ = run(pair, sorted(photos.glob("[02]/[0-9]*.png")), tmp_path / "r.jsonl", batch_size=2)
    assert summary.done == 17
    assert met == 9


def test_a_graph_that_fails_stops_the_run(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    class Failing(Pipeline):
        def run(self, prepared, options):
            raise ArtifactError("the graph gave scores that are not numbers (NaN)")

    with pytest.raises(ArtifactError, match="not numbers"):
        run(Failing(pipeline.artifact, pipeline.runtime), [photos], tmp_path / "r.jsonl")
    assert not (tmp_path / "r.jsonl").exists()


def test_the_rows_are_those_of_the_pipeline(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.glob("0/*.png"))
    _, rows = run(pipeline, files, tmp_path / "r.jsonl", top_k=2)
    expected = [result.to_dict() for result in pipeline(files, top_k=2)]
    assert [{"classes": row["classes"]} for row in rows] == expected


def test_the_graph_runs_on_full_batches(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    sizes: list[int] = []

    class Recording(Pipeline):
        def run(self, prepared, options):
            sizes.append(len(prepared))
            return super().run(prepared, options)

    recording = Recording(pipeline.artifact, pipeline.runtime)
    run(recording, sorted(photos.glob("[02]/[0-9]*.png")), tmp_path / "r.jsonl", batch_size=8)
    assert sizes == [8, 8, 1]


def test_annotated_copies(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "annotated"
    summary, rows = run(pipeline, [photos], tmp_path / "r.jsonl", annotate=out, batch_size=4)
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == [f"{row['image']}.jpg" for row in rows if "error" not in row]
    assert summary.done == len(written)


def test_a_folder_that_cannot_be_written_to_stops_the_run(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InvalidInput, match="cannot be written"):
        run(pipeline, [photos], tmp_path / "r.jsonl", annotate=blocked)


def test_resume_skips_finished_images(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    run(pipeline, [photos / "0", photos / "1"], out)
    before = out.read_text()
    summary, rows = run(pipeline, [photos / "0", photos / "1", photos / "2"], out, resume=True)
    assert out.read_text().startswith(before)
    assert len(rows) == 28
    assert (summary.done, summary.failed_count, summary.skipped, summary.failed_before) == (8, 1, 19, 2)


def test_a_run_without_images(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    summary, rows = run(pipeline, [tmp_path / "empty"], tmp_path / "r.jsonl")
    assert rows == []
    assert summary.images_per_second == 0


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"workers": -1}])
def test_invalid_options_are_refused(pipeline: Pipeline, photos: Path, tmp_path: Path, options: dict) -> None:
    with pytest.raises(InvalidInput, match="must be at least 1"):
        run(pipeline, [photos], tmp_path / "r.jsonl", **options)


def test_only_a_few_images_are_read_ahead(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    """The stream is read as needed: at most a few images are read before the earlier ones are written."""
    image = photos / "0" / "00.png"
    taken, farthest = 0, 0

    def endless() -> Iterator[Source]:
        nonlocal taken, farthest
        for index in range(500):
            taken += 1
            farthest = max(farthest, taken - summary_rows())
            yield Source(f"{index}.png", image)

    class Counting:
        done_before = failed_before = 0
        rows = 0

        def holds(self, name: str) -> bool:
            return False

        def write(self, row: dict) -> None:
            self.rows += 1

        def flush(self) -> None:
            pass

    sink = Counting()

    def summary_rows() -> int:
        return sink.rows

    summary = predict([pipeline, pipeline], endless(), sink, batch_size=4, workers=2)
    assert summary.done == 500
    assert farthest <= (2 + 3) * 4 + 2 + 1


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    good, bad = photos / "0" / "00.png", photos / "1" / "text.jpg"

    def stream(count: int) -> Iterator[Source]:
        for index in range(count):
            yield Source(f"folder/{index}.png", good if index % 10 else bad)

    def peak(count: int, name: str) -> int:
        tracemalloc.start()
        with open_sink(tmp_path / name) as sink:
            summary = predict(pipeline, stream(count), sink, workers=2)
        assert summary.done + summary.failed_count == count
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(300, "warm.jsonl")
    small, large = peak(1000, "small.jsonl"), peak(5000, "large.jsonl")
    # 4,000 rows more would be 2 MB, decoded images 3 MB, names alone 0.5 MB. The listed failures may be 0.1 MB.
    assert large - small < 300_000, (small, large)


def test_a_killed_run_is_continued_to_the_same_file(model: Path, photos: Path, tmp_path: Path) -> None:
    """kill -9 in the middle, then --resume: the file equals that of an uninterrupted run."""
    command = [sys.executable, "-m", "cvserve.cli", "predict", str(model), "-", "--out", str(tmp_path / "r.jsonl")]
    command += ["--runtime", "onnx", "--batch-size", "1", "--workers", "1", "--instances", "1"]
    paths = [str(path) for path in sorted(photos.rglob("*.png"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    part = tmp_path / "r.jsonl.part"
    try:
        assert process.stdin is not None
        process.stdin.write("\n".join(paths[:15]) + "\n")  # the stream stays open, so the run is not finished
        process.stdin.flush()
        end = time.monotonic() + 60
        while not (part.exists() and part.read_text().count("\n") >= 6) and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = part.read_text()
    assert 6 <= done.count("\n") < 15
    part.write_text(done + '{"image": "half a li')
    text = "".join(f"{path}\n" for path in paths)
    resumed = subprocess.run([*command, "--resume"], input=text, capture_output=True, text=True, timeout=120)
    assert resumed.returncode == 1, resumed.stderr  # short.png is broken
    assert f"{done.count(chr(10))} were there already" in resumed.stderr
    command[command.index(str(tmp_path / "r.jsonl"))] = str(tmp_path / "whole.jsonl")
    subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)
    assert (tmp_path / "r.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()
    assert not part.exists()


def test_no_thread_is_left_behind(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    before = threading.active_count()
    run(pipeline, [photos], tmp_path / "r.jsonl", annotate=tmp_path / "out")
    assert threading.active_count() == before
