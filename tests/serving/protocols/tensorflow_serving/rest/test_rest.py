"""TensorFlow Serving's REST API with urllib and curl, on a model with a manifest and on half-plus-two."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from half_plus_two import write_tf1, write_tf2
from http_kit import PREDICT, ask, curl
from serving_kit import PuppetRuntime, Serve, jpeg, pixels

from cvserve.serving import Server, ServerSettings

pytest.importorskip("tensorflow_serving")
pytest.importorskip("aiohttp")

BATCH = np.stack([pixels("red"), pixels("green"), pixels("blue")])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("http-models")
    write_tf1(root / "default" / "00000123")
    write_tf2(root / "tf2" / "1")
    return root


@asynccontextmanager
async def serving(root: Path) -> AsyncIterator[str]:
    settings = ServerSettings(host="127.0.0.1", port=0, instances=1, threads=1, max_batch_size=8, poll_seconds=0)
    async with Server(root, settings) as server:
        assert server.http_address is not None
        yield server.http_address


async def test_rows_and_columns(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime) as server:
        url = f"{server.http_address}{PREDICT}"
        reply = await ask(url, {"instances": BATCH.tolist()})
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        assert list(reply.json) == ["predictions"]
        rows = reply.json["predictions"]
        assert np.argmax([row["probabilities"] for row in rows], axis=1).tolist() == [0, 1, 2]
        assert all(len(row["mean"]) == 3 for row in rows)

        named = await ask(url, {"instances": [{"images": image} for image in BATCH.tolist()]})
        assert named.json == reply.json
        for inputs in (BATCH.tolist(), {"images": BATCH.tolist()}):
            column = (await ask(url, {"signature_name": "serving_default", "inputs": inputs})).json
            assert list(column) == ["outputs"]
            assert column["outputs"]["probabilities"] == [row["probabilities"] for row in rows]
            assert column["outputs"]["mean"] == [row["mean"] for row in rows]


async def test_the_numbers_are_those_of_the_graph_and_printed_short(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime) as server:
        reply = await ask(f"{server.http_address}{PREDICT}", {"inputs": BATCH.tolist()})
        wanted = runtime.run({"images": BATCH})
        for name, values in reply.json["outputs"].items():
            assert (np.array(values, np.float32) == wanted[name]).all()
        assert max(map(len, reply.body.decode().split())) <= len("[1.23456789e-10],")


async def test_images_in_base64(serve: Serve) -> None:
    async with serve() as server:
        url = f"{server.http_address}{PREDICT}"
        image = {"b64": base64.b64encode(jpeg("blue")).decode()}
        for body in (
            {"instances": [image, image]},
            {"instances": [{"image_bytes": image}] * 2},
            {"inputs": {"image_bytes": [image] * 2}},
        ):
            [rows] = (await ask(url, {"signature_name": "bytes"} | body)).json.values()
            assert np.argmax(rows, axis=1).tolist() == [2, 2]
        reply = await ask(url, {"signature_name": "bytes", "instances": [image, {"b64": "bm90IGEgcGljdHVyZQ=="}]})
        assert reply.status == 400
        assert reply.error.startswith("image 1: ")


async def test_curl(serve: Serve, tmp_path: Path) -> None:
    """As the documentation of TensorFlow Serving shows it: -d sends the Content-Type of a form, which is ignored."""
    async with serve() as server:
        url = f"{server.http_address}{PREDICT}"
        reply = await curl("-d", json.dumps({"instances": BATCH[:1].tolist()}), "-X", "POST", url)
        assert (reply.status, len(reply.json["predictions"])) == (200, 1)
        # Large enough for curl to send Expect: 100-continue first.
        large = tmp_path / "large.json"
        large.write_text(json.dumps({"instances": np.repeat(BATCH, 300, axis=0).tolist()}))
        assert large.stat().st_size > 1 << 20
        reply = await curl("--data-binary", f"@{large}", url)
        assert (reply.status, len(reply.json["predictions"])) == (200, 900)
        reply = await curl("-d", "{}", f"{server.http_address}/v1/models/nobody:predict")
        assert (reply.status, reply.error) == (404, "Servable not found for request: Latest(nobody)")
        reply = await curl(f"{server.http_address}/v1/models/colours")
        assert reply.json["model_version_status"][0]["state"] == "AVAILABLE"


async def test_packed_bodies_and_bytes_after_the_document(serve: Serve) -> None:
    async with serve() as server:
        url = f"{server.http_address}{PREDICT}"
        body = json.dumps({"instances": BATCH.tolist()}).encode()
        wanted = (await ask(url, body)).json
        assert (await ask(url, body + b"} and \xff more")).json == wanted
        assert (await ask(url, b"\xef\xbb\xbf \n" + body)).json == wanted
        assert (await ask(url, gzip.compress(body), Content_Encoding="gzip")).json == wanted
        members = gzip.compress(body[:100]) + gzip.compress(body[100:])
        assert (await ask(url, members, Content_Encoding="GZIP")).json == wanted


def deep(opening: bytes, closing: bytes) -> bytes:
    return b'{"instances": ' + opening * 50_000 + closing * 50_000 + b"}"


HOSTILE = {
    "nothing": b"",
    "no json": b"\x00\xff\xfe",
    "no object": b'"instances"',
    "lists without end": b'{"instances": ' + b"[" * 1_000_000,
    "deep lists": deep(b"[", b"]"),
    "deep objects": deep(b'{"a":', b"}"),
    "deep elsewhere": b'{"instances": [1], "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "900 dimensions": b'{"instances": ' + b"[" * 900 + b"1" + b"]" * 900 + b"}",
    "a number of a million digits": b'{"instances": [' + b"9" * 1_000_000 + b"]}",
    "a fraction of a million digits": b'{"instances": [0.' + b"9" * 1_000_000 + b"]}",
    "a number too large": b'{"instances": [[1e999]]}',
    "an exponent too large": b'{"instances": [1e' + b"9" * 100_000 + b"]}",
    "an integer too large": b'{"inputs": [[[[256, 0, 0]]]]}',
    "a negative pixel": b'{"inputs": [[[[-1, 0, 0]]]]}',
    "a fraction of a pixel": b'{"inputs": [[[[0.5, 0, 0]]]]}',
    "not a number": b'{"instances": [[NaN, Infinity]]}',
    "null": b'{"instances": null}',
    "nulls": b'{"instances": [null, null]}',
    "text": b'{"instances": ["red"]}',
    "objects": b'{"instances": [{"images": {}}]}',
    "another name": b'{"instances": [{"pixels": [1]}]}',
    "a name of a megabyte": b'{"instances": [{"' + b"x" * 1_000_000 + b'": 1}]}',
    "half a surrogate pair": b'{"signature_name": "bytes", "instances": ["\\ud800"]}',
    "half a surrogate pair as a name": b'{"instances": [{"\\ud800": 1}]}',
    "half a surrogate pair as a signature": b'{"signature_name": "\\ud800", "instances": [1]}',
    "a signature of a megabyte": b'{"signature_name": "' + b"x" * 1_000_000 + b'", "instances": [1]}',
    "ragged": b'{"instances": [[[1], [2, 3]], [4]]}',
    "empty": b'{"instances": [[]]}',
    "huge by its first elements": b'{"inputs": [[[' + b"1," * 30_000 + b"1], [" + b"[]," * 30_000 + b"[]]]]}",
    "both forms": b'{"instances": [1], "inputs": [1]}',
    "neither form": b'{"signature_name": "serving_default"}',
    "a list for a signature": b'{"signature_name": [], "instances": [1]}',
    "base64 that is none": b'{"signature_name": "bytes", "instances": [{"b64": "***"}]}',
    "base64 of nothing": b'{"signature_name": "bytes", "instances": [{"b64": ""}]}',
    "base64 with another key": b'{"signature_name": "bytes", "instances": [{"b64": "", "x": 1}]}',
    "an image as a number": b'{"signature_name": "bytes", "instances": [7]}',
    "a cut document": b'{"instances": [[[1, 2, 3], [4',
}


async def test_malicious_bodies_are_errors_of_the_client(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    good = json.dumps({"instances": BATCH[:1].tolist()}).encode()
    async with serve() as server:
        url = f"{server.http_address}{PREDICT}"
        for name, body in HOSTILE.items():
            reply = await ask(url, body)
            assert reply.status == 400, f"{name}: {reply.body[:200]!r}"
            assert 0 < len(reply.error) < 1100, name
            assert not any(word in reply.error for word in ("\n", "internal", "Traceback")), name
            for method in ("classify", "regress"):
                reply = await ask(url.replace("predict", method), body)
                assert reply.status == 400, f"{method} {name}: {reply.body[:200]!r}"
        assert (await ask(url, good)).status == 200
    assert not [record for record in caplog.records if record.name.startswith("cvserve")]


async def test_status(serve: Serve) -> None:
    async with serve() as server:
        base = f"{server.http_address}/v1/models/colours"
        wanted = {
            "model_version_status": [
                {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
            ]
        }
        for path in ("", "/versions/1", "/versions/0001"):
            assert (await ask(base + path)).json == wanted
        reply = await ask(f"{base}/versions/3")
        assert (reply.status, reply.error) == (404, "Could not find version 3 of model colours")
        reply = await ask(f"{server.http_address}/v1/models/nobody")
        assert (reply.status, reply.error) == (404, "Could not find any versions of model nobody")
        reply = await ask(f"{base}/labels/stable")
        assert (reply.status, reply.error) == (400, "Unrecognized servable version label: stable")
        reply = await ask(f"{server.http_address}/v1/models")
        assert (reply.status, reply.error) == (400, "Missing model name in request.")


async def test_half_plus_two_of_tensorflow_1(models: Path) -> None:
    """The requests of tensorflow_model_server_test.py."""
    async with serving(models) as base:
        url = f"{base}/v1/models/default"
        assert (await ask(f"{url}:predict", {"instances": [2.0, 3.0, 4.0]})).json == {"predictions": [3.0, 3.5, 4.0]}
        assert (await ask(f"{url}:predict", {"inputs": [2.0, 3.0, 4.0]})).json == {"outputs": [3.0, 3.5, 4.0]}
        assert (await ask(f"{url}:predict", {"inputs": {"x": [[2], [3]]}})).json == {"outputs": [[3.0], [3.5]]}
        body = b'{"instances": [[NaN], [Infinity], [-Infinity], [2]]}'
        assert b"[[NaN], [Infinity], [-Infinity], [3.0]]" in (await ask(f"{url}:predict", body)).body
        request: Any = {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}
        assert (await ask(f"{url}:classify", request)).json == {"results": [[["", 3.0]]]}
        assert (await ask(f"{url}/versions/123:classify", request)).json == {"results": [[["", 3.0]]]}
        request = {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}, {"x": [4.0]}]}
        assert (await ask(f"{url}:regress", request)).json == {"results": [3.0, 4.0]}
        request = {"signature_name": "regress_x_to_y", "context": {"x": 80.0}, "examples": [{}]}
        assert (await ask(f"{url}:regress", request)).json == {"results": [42.0]}

        faults: list[tuple[str, Any, str]] = [
            ("classify", {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}, "Expected classification"),
            ("regress", {"signature_name": "nothing", "examples": [{"x": 2.0}]}, "nothing"),
            ("regress", {"signature_name": "regress_x_to_y", "examples": [{"x": "two"}]}, "x"),
            ("predict", {"instances": ["x", "y"]}, "is not of expected type: float"),
            ("predict", {"signature_name": "nothing", "instances": [1]}, "not found in signature def"),
        ]
        for method, wrong, text in faults:
            reply = await ask(f"{url}:{method}", wrong)
            assert reply.status == 400, reply.body
            assert text in reply.error


async def test_labels_of_classes(models: Path) -> None:
    async with serving(models) as base:
        request = {"signature_name": "classify_x_to_y", "examples": [{"x": 0.2}]}
        reply = await ask(f"{base}/v1/models/tf2:classify", request)
        assert reply.json == {"results": [[["half plus two", 2.1], ["x", 0.2]]]}


async def test_metadata_is_the_golden_file_of_tensorflow_serving(models: Path) -> None:
    async with serving(models) as base:
        found = (await ask(f"{base}/v1/models/default/metadata")).json
        assert found["model_spec"] == {"name": "default", "signature_name": "", "version": "123"}
        signatures = found["metadata"]["signature_def"]["signature_def"]
        assert sorted(signatures) == [
            "classify_x_to_y", "regress_x2_to_y3", "regress_x_to_y", "regress_x_to_y2", "serving_default",
        ]  # fmt: skip
        column = {
            "dtype": "DT_FLOAT",
            "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False},
        }
        assert signatures["serving_default"] == {
            "inputs": {"x": column | {"name": "x:0"}},
            "outputs": {"y": column | {"name": "y:0"}},
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        }
        assert signatures["regress_x2_to_y3"]["method_name"] == "tensorflow/serving/regress"
        assert (await ask(f"{base}/v1/models/default/versions/123/metadata")).json == found
        assert (await ask(f"{base}/v1/models/default/versions/9/metadata")).status == 404
