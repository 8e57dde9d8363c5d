"""Captioning networks to artifacts: the same sentences in every format, in one call and step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras")

from tiny_decoder import GRID, PREPROC, make_captioner, make_images, vocabulary

from cvserve import artifact as artifacts
from cvserve.artifact import Artifact, CaptioningPostproc, Decoding
from cvserve.errors import ExportError, InvalidInput, NotFound
from cvserve.pipeline import Pipeline
from cvserve.postproc import CaptionResult
from cvserve.runtimes import open_graph
from cvserve.stepwise import load_stepwise

pytestmark = pytest.mark.slow

BEAM = Decoding(method="beam", beam_width=4, length_penalty=0.7, no_repeat_ngram=2, sentences=2)
SAMPLING = Decoding(method="sampling", temperature=0.9, top_k=5, seed=3)
FORMATS = ["saved_model", "onnx", "tflite"]
RUNTIMES = ["tensorflow", "onnx", "litert"]


def export(to: Path, model: Any, **options: Any) -> Artifact:
    from cvserve.export import export_model

    values = {
        "task": "captioning",
        "labels": (),
        "preproc": PREPROC,
        "postproc": CaptioningPostproc(vocabulary=vocabulary()),
        "parity_images": make_images(9),
    }
    return export_model(model, to, **(values | options))


@pytest.fixture(scope="module")
def model() -> Any:
    return make_captioner()


@pytest.fixture(scope="module", params=["beam", "sampling"])
def decoding(request: pytest.FixtureRequest) -> Decoding:
    return {"beam": BEAM, "sampling": SAMPLING}[request.param]


@pytest.fixture(scope="module")
def exported(model: Any, decoding: Decoding, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return export(tmp_path_factory.mktemp("repository") / "teller", model, decoding=decoding)


def test_every_format_gives_the_networks_sentences(exported: Artifact, model: Any, decoding: Decoding) -> None:
    from cvserve.export import report_table
    from cvserve.models.captioning.captions import with_decoding

    manifest = artifacts.read(exported.directory).manifest
    assert (manifest.task, manifest.postproc.decoding) == ("captioning", decoding)
    more = (2,) if decoding.sentences == 2 else ()
    assert {output.role: (output.dtype, output.shape) for output in manifest.outputs} == {
        "token_ids": ("int32", (*more, 7)),
        "log_probability": ("float32", more),
        "attention": ("float32", (*more, 7, *GRID)),
    }
    assert [graph.format for graph in manifest.graphs] == FORMATS
    images = make_images(5, seed=7)
    wanted = {name: np.asarray(value) for name, value in with_decoding(model, decoding)(images).items()}
    assert len(np.unique(wanted["token_ids"].reshape(5, -1), axis=0)) > 2
    for graph in manifest.graphs:
        for parity in (graph.parity, graph.steps and graph.steps.parity):
            assert parity is not None
            assert (parity.images, parity.agreement, parity.agreement_limit, parity.limit) == (9, 1.0, 1.0, 1e-4)
            assert parity.max_abs_difference < 1e-5
        runtime = open_graph(exported.directory / graph.path, graph.format, signature=graph.signature)
        for batch in (1, 3):
            got = runtime.run({"images": images[:batch]})
            assert np.array_equal(got["token_ids"], wanted["token_ids"][:batch])
            assert np.allclose(got["log_probability"], wanted["log_probability"][:batch], rtol=1e-4)
            assert np.allclose(got["attention"], wanted["attention"][:batch], atol=1e-4)
        runtime.close()
    encoded = manifest.graphs[0].encoded
    assert encoded is not None
    assert encoded.parity.agreement_limit is None
    assert (exported.directory / "assets.extra" / "tf_serving_warmup_requests").is_file()
    table = report_table(manifest)
    for word in ("saved_model (bytes)", "onnx (encode, step)", "tflite (encode, step)"):
        assert word in table


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_step_by_step_gives_the_same_sentences(exported: Artifact, runtime: str) -> None:
    images = list(make_images(5, seed=8))
    with Pipeline.load(exported.directory, runtime=runtime) as whole:
        wanted = whole(images)
    with load_stepwise(exported.directory, runtime=runtime) as stepwise:
        found = stepwise(images)
        assert stepwise.runtime.name == f"{runtime}, step by step"
    for mine, theirs in zip(found, wanted, strict=True):
        assert isinstance(mine, CaptionResult)
        assert isinstance(theirs, CaptionResult)
        assert [item.text for item in mine.captions] == [item.text for item in theirs.captions]
        assert mine.best.log_probability == pytest.approx(theirs.best.log_probability, rel=1e-4)


def test_step_by_step_takes_other_decoding_settings(exported: Artifact, model: Any) -> None:
    """What was exported with one decoding is asked with another: as if it had been exported so."""
    from cvserve.models.captioning.captions import with_decoding

    other = Decoding(method="beam", beam_width=6, sentences=3)
    images = make_images(3, seed=9)
    wanted = np.asarray(with_decoding(model, other)(images)["token_ids"])
    with load_stepwise(exported.directory, decoding=other) as stepwise:
        assert np.array_equal(stepwise.runtime.run({"images": images})["token_ids"], wanted)
        [result] = stepwise(images[0])
        assert isinstance(result, CaptionResult)
        assert len(result.captions) == 3


def test_another_graph_is_refused(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvserve.export import network as networks

    honest = networks.Network.answers

    def change(name: str, changed: Any) -> None:
        def answers(self: Any, images: np.ndarray, batch_size: int = 8) -> dict[str, np.ndarray]:
            found = honest(self, images, batch_size)
            return found | {name: changed(found[name].copy())}

        monkeypatch.setattr(networks.Network, "answers", answers)

    def another_word(ids: np.ndarray) -> np.ndarray:
        ids[4, 0] = 5 if ids[4, 0] != 5 else 6
        return ids

    change("token_ids", another_word)
    with pytest.raises(ExportError, match=r"11\.11% of the images have another sentence .* parity image 4"):
        export(tmp_path / "bad", model, formats=["onnx"])
    change("log_probability", lambda values: values * 1.001)
    with pytest.raises(ExportError, match=r"the log probability of a sentence of parity image \d .* limit 0\.0001"):
        export(tmp_path / "bad", model, formats=["onnx"])
    assert not list((tmp_path / "bad").glob("*"))


def test_what_cannot_be_exported(model: Any, tmp_path: Path) -> None:
    import keras

    with pytest.raises(InvalidInput, match=r"needs postproc\.vocabulary"):
        export(tmp_path / "a", model, postproc=None)
    with pytest.raises(InvalidInput, match="a vocabulary of 6 tokens does not fit a network that answers with token"):
        export(tmp_path / "a", model, postproc=CaptioningPostproc(vocabulary=vocabulary(words=2)))
    alone = keras.Model(model.input, {"token_ids": model.output["token_ids"]})
    with pytest.raises(InvalidInput, match="needs the outputs token_ids and log_probability; this one has token_ids"):
        export(tmp_path / "a", alone)
    with pytest.raises(InvalidInput, match="has no layer Captions"):
        export(tmp_path / "a", keras.Model(model.input, {"token_ids": model.input[:, 0, 0]}), decoding=BEAM)
    with pytest.raises(
        InvalidInput, match="only captioning models take decoding settings; a is a model for segmentation"
    ):
        export(tmp_path / "a", model, task="segmentation", decoding=BEAM)


def test_an_export_without_step_graphs(model: Any, tmp_path: Path) -> None:
    artifact = export(tmp_path / "teller", model, formats=["onnx"], step_graphs=False)
    assert [graph.steps for graph in artifact.manifest.graphs] == [None]
    assert [path.name for path in artifact.directory.glob("*.onnx")] == ["model.onnx"]
    with pytest.raises(NotFound, match="no encoder and step graphs for the runtime auto; it has none"):
        load_stepwise(artifact.directory)


def test_the_network_is_saved_with_its_way_of_searching(model: Any, tmp_path: Path) -> None:
    import keras

    from cvserve.models.captioning.captions import captions_of, with_decoding

    searching = with_decoding(model, BEAM)
    searching.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    layer = captions_of(loaded)
    assert layer is not None
    assert (layer.decoding, layer.grid) == (BEAM, GRID)
    images = make_images(2)
    for name, values in searching(images).items():
        assert np.allclose(values, loaded(images)[name], atol=1e-5)
