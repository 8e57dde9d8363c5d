"""A captioner behind the server, in predict and in evaluate: the same sentences everywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tiny_artifact import LABELS, publish_tiny, write_image
from tiny_captioner import READABLE, publish_captioner

from cvserve.batch import Sources, open_sink, predict
from cvserve.client import AsyncClient, Client
from cvserve.errors import FailedPrecondition
from cvserve.evaluation import evaluate
from cvserve.pipeline import Pipeline
from cvserve.postproc import CaptionResult
from cvserve.serving import Server, ServerSettings

pytest.importorskip("onnxruntime")
pytest.importorskip("tensorflow_serving")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the captioner `teller` and the classifier `colors`; images of three colours in `images`."""
    root = tmp_path_factory.mktemp("captions")
    publish_captioner(root / "models" / "teller")
    publish_tiny(root / "models" / "colours")
    for label in LABELS:
        write_image(root / "images" / f"{label}.png", label)
    return root


@pytest.fixture(scope="module")
def wanted(root: Path) -> list[CaptionResult]:
    with Pipeline.load(root / "models" / "teller", runtime="onnx", threads=1) as pipeline:
        return pipeline(images(root))  # type: ignore[return-value]


def images(root: Path) -> list[Path]:
    return [root / "images" / f"{label}.png" for label in LABELS]


@asynccontextmanager
async def serving(root: Path) -> AsyncIterator[Server]:
    settings = ServerSettings(host="127.0.0.1", port=0, max_batch_size=4, grace_seconds=5)
    async with Server(root / "models", settings) as server:
        yield server


def test_the_pipeline_returns_the_sentences(wanted: list[CaptionResult]) -> None:
    assert [item.best.text for item in wanted] == list(READABLE)
    for item in wanted:
        first, second = (caption.log_probability for caption in item.captions)
        assert (first, second) == (0.0, -20.0)  # 200 against 0, by a tenth


async def test_the_service_returns_the_same(root: Path, wanted: list[CaptionResult]) -> None:
    def ask(address: str) -> list[CaptionResult]:
        with Client(address) as client:
            one = [client.caption("teller", path) for path in images(root)]
            assert list(client.caption_many("teller", images(root))) == one
            assert [answer.value for answer in client.stream("teller", images(root), top_k=None)] == one
            assert client.caption("teller", images(root)[0], max_results=1).captions == one[0].captions[:1]
            return one

    async with serving(root) as server:
        assert await asyncio.to_thread(ask, server.address) == wanted
        async with AsyncClient(server.address) as client:
            assert await client.caption("teller", images(root)[2]) == wanted[2]
            assert [item async for item in client.caption_many("teller", images(root))] == wanted
            with pytest.raises(FailedPrecondition):
                await client.caption("colours", images(root)[0])
            with pytest.raises(FailedPrecondition):
                await client.classify("teller", images(root)[0])


def test_predict_writes_the_same_in_cocos_format(root: Path, wanted: list[CaptionResult], tmp_path: Path) -> None:
    with (
        Pipeline.load(root / "models" / "teller", runtime="onnx", threads=1) as pipeline,
        open_sink(tmp_path / "found.json", task="captioning") as sink,
    ):
        predict(pipeline, Sources([str(root / "images")]), sink, annotate=tmp_path / "drawn")
    found = {item["file_name"]: item["caption"] for item in json.loads((tmp_path / "found.json").read_bytes())}
    assert found == {f"{label}.png": item.best.text for label, item in zip(LABELS, wanted, strict=True)}
    assert len(list((tmp_path / "drawn").iterdir())) == 3


def test_evaluate_scores_it(root: Path, tmp_path: Path) -> None:
    rows = ["image,caption", "red.png,A red wall's hat!", "red.png,nothing", "green.png,a blue sky", "blue.png,Một 蓝"]
    (root / "images" / "captions_val.csv").write_text("\n".join(rows), encoding="utf-8")
    evaluation = evaluate(root / "models" / "teller", str(root / "images"), runtime="onnx", out=tmp_path)
    assert evaluation.report.images == 3
    assert evaluation.report.exact == pytest.approx(1 / 3)
    assert {"evaluation.json", "captions.json", "ground_truth.json", "captions.jpg"} == {
        path.name for path in tmp_path.iterdir()
    }
    assert "each" not in json.loads((tmp_path / "evaluation.json").read_bytes())
