"""The three runtimes give the same answers and the same errors."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from toy_graph import expected, photos, write_onnx

from cvserve.errors import ArtifactError, FailedPrecondition, InvalidInput, NotFound
from cvserve.runtimes import Runtime, open_graph

FORMATS = ("saved_model", "onnx", "tflite")


@pytest.fixture(scope="module")
def runtimes(saved_model: Path, onnx_file: Path, tflite_file: Path) -> dict[str, Runtime]:
    files = {"saved_model": saved_model, "onnx": onnx_file, "tflite": tflite_file}
    return {kind: open_graph(path, kind, threads=2) for kind, path in files.items()}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_answers_as_numpy_does(runtimes: dict[str, Runtime], kind: str, batch: int) -> None:
    images = photos(batch, seed=batch)
    answers = runtimes[kind].run({"images": images})
    assert set(answers) == {"sums", "brightness"}
    for name, wanted in expected(images).items():
        assert answers[name].dtype == np.float32
        np.testing.assert_allclose(answers[name], wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", FORMATS)
def test_describes_its_tensors(runtimes: dict[str, Runtime], kind: str) -> None:
    (image,) = runtimes[kind].inputs.values()
    assert (image.name, image.dtype, image.shape) == ("images", "uint8", (None, 6, 8, 3))
    assert runtimes[kind].outputs["sums"].shape == (None, 4)
    assert runtimes[kind].outputs["brightness"].shape == (None,)


@pytest.mark.parametrize("kind", FORMATS)
def test_returns_only_the_requested_outputs(runtimes: dict[str, Runtime], kind: str) -> None:
    assert list(runtimes[kind].run({"images": photos(2)}, ["brightness"])) == ["brightness"]
    with pytest.raises(InvalidInput, match=r"no output 'scores'; it gives .*sums"):
        runtimes[kind].run({"images": photos(2)}, ["scores"])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'images' is missing"),
        ({"image": photos(1)}, "no input 'image'; it takes images .uint8 .batch, 6, 8, 3"),
        ({"images": photos(1), "more": photos(1)}, "no input 'more'"),
        ({"images": photos(1).astype(np.float32)}, "is float32, but the model takes uint8"),
        ({"images": photos(1)[:, :5]}, r"shape \[1, 5, 8, 3\], but the model takes"),
        ({"images": photos(1)[0]}, r"shape \[6, 8, 3\]"),
        ({"images": photos(1)[:0]}, "empty batch"),
    ],
)
def test_refuses_what_the_graph_does_not_take(
    runtimes: dict[str, Runtime], kind: str, inputs: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        runtimes[kind].run(inputs)


@pytest.mark.parametrize("kind", FORMATS)
def test_takes_an_array_that_is_not_contiguous(runtimes: dict[str, Runtime], kind: str) -> None:
    images = photos(4)[::2, :, ::-1]
    np.testing.assert_allclose(runtimes[kind].run({"images": images})["sums"], expected(images)["sums"], atol=1e-3)


@pytest.mark.parametrize("kind", FORMATS)
def test_many_threads_get_their_own_answers(runtimes: dict[str, Runtime], kind: str) -> None:
    faults: list[str] = []

    def ask(seed: int) -> None:
        for turn in range(15):
            images = photos(1 + (seed + turn) % 3, seed)
            if not np.allclose(runtimes[kind].run({"images": images})["sums"], expected(images)["sums"], atol=1e-3):
                faults.append(f"thread {seed} turn {turn}")

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_litert_goes_on_after_more_batch_sizes_than_it_keeps(runtimes: dict[str, Runtime]) -> None:
    for batch in (1, 2, 3, 4, 5, 6, 7, 1, 2):
        images = photos(batch, seed=batch)
        np.testing.assert_allclose(
            runtimes["tflite"].run({"images": images})["sums"], expected(images)["sums"], atol=1e-3
        )


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("batch", [1, 4, 6])
def test_a_graph_of_a_fixed_batch_takes_any(tmp_path: Path, size: int, batch: int) -> None:
    runtime = open_graph(write_onnx(tmp_path / "fixed.onnx", size), "onnx")
    images = photos(batch)
    answers = runtime.run({"images": images})
    assert answers["sums"].shape == (batch, 4)
    np.testing.assert_allclose(answers["sums"], expected(images)["sums"], atol=1e-3)
    assert runtime.inputs["images"].shape == (None, 6, 8, 3)


def test_strings_through_a_named_signature(saved_model: Path) -> None:
    runtime = open_graph(saved_model, "saved_model", signature="bytes")
    assert runtime.inputs["image_bytes"].dtype == "bytes"
    values = np.array([b"\xff\xd8abc\0\0", b""], object)
    answers = runtime.run({"image_bytes": values})
    assert answers["lengths"].tolist() == [7, 0]
    assert list(answers["echo"]) == list(values)
    with pytest.raises(InvalidInput, match="uint8, but the model takes bytes"):
        runtime.run({"image_bytes": np.zeros(3, np.uint8)})


def test_a_second_input_of_its_own_shape(saved_model: Path) -> None:
    runtime = open_graph(saved_model, "saved_model", signature="cropped")
    pixels = np.random.default_rng(1).random((3, 5, 7, 3)).astype(np.float32)
    answers = runtime.run({"pixels": pixels, "size": np.array([2, 4], np.int32)})
    np.testing.assert_array_equal(answers["part"], pixels[:, :2, :4])
    with pytest.raises(InvalidInput, match=r"'size' has shape \[3\]"):
        runtime.run({"pixels": pixels, "size": np.array([1, 2, 3], np.int32)})


def test_a_file_path_opens_the_saved_model_around_it(saved_model: Path) -> None:
    runtime = open_graph(saved_model / "saved_model.pb", "saved_model")
    images = photos(2)
    np.testing.assert_allclose(runtime.run({"images": images})["sums"], expected(images)["sums"], atol=1e-3)


def test_an_unknown_signature_names_the_known(saved_model: Path, tflite_file: Path) -> None:
    with pytest.raises(NotFound, match="no signature 'classify'; it has bytes, cropped, serving_default"):
        open_graph(saved_model, "saved_model", signature="classify")
    with pytest.raises(NotFound, match="no signature 'classify'; it has serving_default"):
        open_graph(tflite_file, "tflite", signature="classify")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, kind: str) -> None:
    file = tmp_path / ("saved_model.pb" if kind == "saved_model" else "model")
    file.write_bytes(b"this is no graph" * 20)
    with pytest.raises(ArtifactError, match="cannot load") as caught:
        open_graph(file, kind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_closed_graph_raises_an_error(saved_model: Path, onnx_file: Path, tflite_file: Path, kind: str) -> None:
    runtime = open_graph({"saved_model": saved_model, "onnx": onnx_file, "tflite": tflite_file}[kind], kind)
    runtime.close()
    with pytest.raises(FailedPrecondition, match="was closed"):
        runtime.run({"images": photos(1)})


def test_devices_and_threads_are_checked(onnx_file: Path, tflite_file: Path) -> None:
    with pytest.raises(InvalidInput, match="'tpu' is not a device"):
        open_graph(onnx_file, "onnx", device="tpu")
    with pytest.raises(FailedPrecondition, match="CPU only"):
        open_graph(tflite_file, "tflite", device="gpu:0")
    with pytest.raises(InvalidInput, match="at least 1, not 0"):
        open_graph(onnx_file, "onnx", threads=0)
    with pytest.raises(InvalidInput, match="'pb' is not a graph format"):
        open_graph(onnx_file, "pb")


def test_an_imported_int8_model_of_batch_1_returns_integers(shared: Path) -> None:
    path = shared / "models" / "mobilenet_v2_imagenet_int8" / "model.tflite"
    runtime = open_graph(path, "tflite")
    (name,) = runtime.inputs
    assert (runtime.inputs[name].dtype, runtime.inputs[name].shape) == ("int8", (None, 3, 224, 224))
    images = np.random.default_rng(0).integers(-128, 128, (3, 3, 224, 224), dtype=np.int8)
    together = runtime.run({name: images})
    (output,) = together.values()
    assert (output.dtype, output.shape) == (np.int8, (3, 1000))
    for index in range(3):
        (alone,) = runtime.run({name: images[index : index + 1]}).values()
        np.testing.assert_array_equal(alone[0], output[index])
