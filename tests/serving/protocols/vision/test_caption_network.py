"""A captioning network, exported: the server, its stream, predict and evaluate return the network's sentences."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("keras")
pytest.importorskip("tensorflow_serving")

from tiny_decoder import PREPROC, make_captioner, make_images, vocabulary

from cvserve.artifact import CaptioningPostproc, Decoding
from cvserve.batch import Sources, open_sink, predict
from cvserve.client import Client
from cvserve.evaluation import evaluate
from cvserve.export import export_model
from cvserve.pipeline import Pipeline
from cvserve.postproc import CaptionResult
from cvserve.serving import Server, ServerSettings
from cvserve.stepwise import load_stepwise
from cvserve.text import decode

pytestmark = pytest.mark.slow

COUNT = 9


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """models/teller, as SavedModel and ONNX; images/ of its own size."""
    root = tmp_path_factory.mktemp("network")
    export_model(
        make_captioner(Decoding(method="beam", beam_width=3, length_penalty=0.7, sentences=2)),
        root / "models" / "teller",
        task="captioning",
        labels=(),
        preproc=PREPROC,
        postproc=CaptioningPostproc(vocabulary=vocabulary()),
        parity_images=make_images(9),
        formats=["saved_model", "onnx"],
    )
    (root / "images").mkdir()
    for number, image in enumerate(make_images(COUNT, seed=4)):
        cv2.imwrite(str(root / "images" / f"{number}.png"), image[..., ::-1])
    return root


@pytest.fixture(scope="module")
def wanted(root: Path) -> list[tuple[str, ...]]:
    """The sentences of each image, by the network itself."""
    network = make_captioner(Decoding(method="beam", beam_width=3, length_penalty=0.7, sentences=2))
    ids = np.asarray(network(make_images(COUNT, seed=4))["token_ids"])
    sentences = [tuple(decode(sentence, vocabulary()) for sentence in own) for own in ids]
    assert len(set(sentences)) > COUNT // 2
    return sentences


def sentences_of(results: list[CaptionResult]) -> list[tuple[str, ...]]:
    return [tuple(item.text for item in result.captions) for result in results]


def images(root: Path) -> list[Path]:
    return [root / "images" / f"{number}.png" for number in range(COUNT)]


@pytest.mark.parametrize("runtime", ["onnx", "tensorflow"])
async def test_the_server_returns_the_sentences(root: Path, wanted: list[tuple[str, ...]], runtime: str) -> None:
    def ask(address: str) -> None:
        with Client(address) as client:
            assert sentences_of(list(client.caption_many("teller", images(root)))) == wanted
            streamed = client.stream("teller", images(root), top_k=None)
            assert sentences_of([answer.value for answer in streamed]) == wanted  # type: ignore[misc]
            best = client.caption("teller", images(root)[1], max_results=1)
            assert sentences_of([best]) == [wanted[1][:1]]
            assert best.attention is None

    settings = ServerSettings(host="127.0.0.1", port=0, max_batch_size=4, grace_seconds=5, runtime=runtime)
    async with Server(root / "models", settings) as server:
        await asyncio.to_thread(ask, server.address)


def test_predict_returns_the_sentences_and_draws_the_attention(
    root: Path, wanted: list[tuple[str, ...]], tmp_path: Path
) -> None:
    with (
        Pipeline.load(root / "models" / "teller", runtime="onnx", threads=1) as pipeline,
        open_sink(tmp_path / "found.json", task="captioning") as sink,
    ):
        predict(pipeline, Sources([str(root / "images")]), sink, annotate=tmp_path / "drawn")
    found = json.loads((tmp_path / "found.json").read_bytes())
    assert [item["caption"] for item in found] == [sentences[0] for sentences in wanted]
    # 24 x 32 pixels, eight times as large to be read, and panels below.
    drawn = [cv2.imread(str(path)) for path in sorted((tmp_path / "drawn").iterdir())]
    assert len(drawn) == COUNT
    for image, sentences in zip(drawn, wanted, strict=True):
        assert image.shape[1] == 256
        assert (image.shape[0] > 192) == bool(sentences[0])


@pytest.mark.parametrize("runtime", ["onnx", "tensorflow"])
def test_evaluate_returns_the_sentences(
    root: Path, wanted: list[tuple[str, ...]], tmp_path: Path, runtime: str
) -> None:
    rows = [
        "image,caption",
        *(f'{number}.png,"{words[0]} ."' for number, words in enumerate(wanted) if words[0]),
    ]
    (root / "images" / "captions_val.csv").write_text("\n".join(rows), encoding="utf-8")
    evaluation = evaluate(root / "models" / "teller", str(root / "images"), runtime=runtime, out=tmp_path)
    assert evaluation.report.images == len(rows) - 1
    assert evaluation.report.exact == 1.0
    (root / "images" / "captions_val.csv").unlink()


def test_stepwise_decoding_returns_the_sentences(root: Path, wanted: list[tuple[str, ...]]) -> None:
    with load_stepwise(root / "models" / "teller", runtime="tensorflow") as pipeline:
        assert sentences_of(pipeline(images(root))) == wanted  # type: ignore[arg-type]
