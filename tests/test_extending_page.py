"""The code of docs/extending.md does what the page says: each block that names a file is written to it and used."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import keras
import numpy as np
import pytest
from serving_kit import jpeg
from small_network import LABELS, PREPROC, make_images, make_model
from tiny_artifact import publish_tiny

from cvserve.cli.main import main
from cvserve.export import TARGETS, export_model
from cvserve.models import build_model, load_networks, registry
from cvserve.models.backbones import registry as backbones
from cvserve.runtimes import open_runtime
from cvserve.serving import Server, ServerSettings
from cvserve.serving.server import PROTOCOLS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extending.md"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder with the files of the page, which Python finds."""
    for name, code in re.findall(
        r"<!-- run: (\S+) -->\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    ):
        path = tmp_path / "page" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "page")
    before = set(sys.modules)
    yield tmp_path / "page"
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("tiny_net", "best", "half_onnx"):
            del sys.modules[name]


def test_the_network(files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    load_networks()
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.setattr(backbones, "_backbones", dict(backbones._backbones))
    importlib.import_module("tiny_net")
    assert main(["models", "tiny*"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["tiny_net", "classification"]
    built = build_model("classification", "tiny_net", num_classes=3, image_size=(64, 64))
    answers = built.network(np.zeros((2, 64, 64, 3), np.uint8))["probabilities"]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(answers).sum(axis=1), 1, atol=1e-5)


async def test_the_protocol(files: Path, tmp_path: Path) -> None:
    publish_tiny(tmp_path / "models" / "flowers")
    protocol = importlib.import_module("best").PROTOCOL
    settings = ServerSettings(port=0, http_port=0, host="127.0.0.1")
    async with (
        Server(tmp_path / "models", settings, protocols=(*PROTOCOLS, protocol)) as server,
        aiohttp.ClientSession() as session,
        session.post(f"{server.http_address}/best/flowers", data=jpeg()) as answer,
    ):
        assert (answer.status, await answer.text()) == (200, "red")


def test_the_export_target(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setitem(TARGETS, "onnx-float16", None)  # type: ignore[arg-type]
    importlib.import_module("half_onnx")
    artifact = export_model(
        make_model(),
        tmp_path / "shapes",
        task="classification",
        labels=LABELS,
        preproc=PREPROC,
        parity_images=make_images(4),
        formats=("onnx-float16",),
    )
    assert [(graph.format, graph.precision, graph.path) for graph in artifact.manifest.graphs] == [
        ("onnx", "float16", "model.fp16.onnx")
    ]
    assert open_runtime(artifact, precision="float16").run({"images": make_images(1)})["probabilities"].shape == (
        1,
        len(LABELS),
    )
