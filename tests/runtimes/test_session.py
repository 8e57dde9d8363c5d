"""Any SavedModel in a session: TF1 and TF2, tables, strings, state, unranked tensors, errors of the graph."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import half_plus_two
import numpy as np
import pytest
import saved_models

from cvserve.errors import ArtifactError, FailedPrecondition, InvalidInput

tf = pytest.importorskip("tensorflow")

from cvserve.runtimes.session import SavedModelSession  # noqa: E402


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_models.write_kinds(tmp_path_factory.mktemp("kinds") / "1")


@pytest.fixture(scope="module")
def kinds(directory: Path) -> Iterator[SavedModelSession]:
    session = SavedModelSession(directory)
    yield session
    session.close()


def test_a_table_filled_from_an_asset(tmp_path: Path) -> None:
    session = SavedModelSession(saved_models.write_words(tmp_path / "1"))
    entry = session.entries["serving_default"]
    assert entry.inputs["words"].dtype == "bytes"
    answer = entry.run({"words": np.array([b"blue", b"none", b"red"], object)})
    np.testing.assert_array_equal(answer["ids"], [2, -1, 0])
    assert answer["again"].tolist() == [b"blue!\xff", b"none!\xff", b"red!\xff"]
    assert answer["again"].dtype == object
    session.close()
    with pytest.raises(FailedPrecondition, match="closed"):
        entry.run({"words": np.array([b"red"], object)}, ["ids"])


def test_scalar_strings_and_a_table_of_tf2(kinds: SavedModelSession) -> None:
    answer = kinds.entries["scalar"].run({"word": np.array(b"green", object)})
    assert answer["number"].shape == ()
    assert answer["number"] == 6
    assert answer["upper"].shape == ()
    assert answer["upper"][()] == b"GREEN"


def test_state_without_inputs(kinds: SavedModelSession) -> None:
    calls = kinds.entries["count"]
    first = int(calls.run({})["calls"])
    assert int(calls.run({})["calls"]) == first + 1


def test_rare_dtypes(kinds: SavedModelSession) -> None:
    half = np.array([1.5], tf.bfloat16.as_numpy_dtype)
    answer = kinds.entries["rare"].run({"half": half, "flag": np.array([True])})
    assert answer["half"].dtype == half.dtype
    assert float(answer["half"][0]) == 3.0
    assert answer["flag"].tolist() == [False]
    assert answer["real"].tolist() == [1.5 + 1j]


def test_open_ranks_are_reported(kinds: SavedModelSession) -> None:
    entry = kinds.entries["unranked"]
    assert not entry.inputs["x"].ranked
    assert kinds.entries["total"].inputs["x"].ranked
    for x in (np.float32(3), np.ones((2, 2, 2), np.float32)):
        np.testing.assert_array_equal(entry.run({"x": np.asarray(x)})["y"], x * 2)


def test_only_the_requested_outputs_are_returned_in_their_order(kinds: SavedModelSession) -> None:
    x = np.ones((2, 2), np.float32)
    entry = kinds.entries["total"]
    assert list(entry.run({"x": x}, ["total"])) == ["total"]
    assert list(entry.run({"x": x}, ["total", "rows"])) == ["total", "rows"]
    assert list(entry.run({"x": x}, ["rows", "total"])) == ["rows", "total"]
    with pytest.raises(InvalidInput, match="'mean'"):
        entry.run({"x": x}, ["mean"])
    with pytest.raises(InvalidInput, match="takes x"):
        entry.run({"z": x})


def test_errors_of_the_graph_are_errors_of_the_client(kinds: SavedModelSession) -> None:
    with pytest.raises(InvalidInput, match=r"(?i)matrix size-incompatible"):
        kinds.entries["product"].run({"x": np.ones((2, 5), np.float32)})
    with pytest.raises(InvalidInput, match="float"):
        kinds.entries["product"].run({"x": np.ones((2, 2))})


def test_calls_run_at_the_same_time(kinds: SavedModelSession) -> None:
    entry = kinds.entries["product"]
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(50):
            answer = entry.run({"x": np.full((number + 1, 2), number, np.float32)})["y"]
            if answer.shape != (number + 1, 3) or (answer != 2 * number).any():
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_graph_tagged_for_serving_and_more(tmp_path: Path) -> None:
    directory = half_plus_two.write_tf1(tmp_path / "1", tags=("serve", "gpu"))
    session = SavedModelSession(directory)
    assert session.entries["serving_default"].run({"x": np.ones((1, 1), np.float32)})["y"] == 2.5
    session.close()


def test_a_keras_model_in_a_module_whose_variables_are_restored_elsewhere(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    module = tf.Module()
    module.model = model
    module.predict = tf.function(
        lambda x: {"y": model(x, training=False)}, input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")]
    )
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.predict})
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    session = SavedModelSession(tmp_path / "1")
    np.testing.assert_allclose(session.entries["serving_default"].run({"x": x})["y"], model(x), rtol=1e-5)
    session.close()


@pytest.mark.parametrize("harm", ["tags", "empty", "garbage", "no variables", "cut variables", "unknown operation"])
def test_damaged_models_are_one_sentence(tmp_path: Path, harm: str) -> None:
    directory = half_plus_two.write_tf1(tmp_path / "1")
    file = directory / "saved_model.pb"
    if harm == "tags":
        saved_models.rewrite(directory, tags=["train"])
    elif harm == "empty":
        file.unlink()
    elif harm == "garbage":
        file.write_bytes(b"\xff" * 100)
    elif harm == "no variables":
        shutil.rmtree(directory / "variables")
    elif harm == "cut variables":
        index = directory / "variables" / "variables.index"
        index.write_bytes(index.read_bytes()[:20])
    else:
        file.write_bytes(file.read_bytes().replace(b"ParseExample", b"Parse_xample"))
    with pytest.raises(ArtifactError) as error:
        SavedModelSession(directory)
    assert "\n" not in str(error.value)
