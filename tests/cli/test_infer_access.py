"""`cvserve infer` with tokens, TLS, labels and thresholds, against a small service of the same protocol."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from certificates import Certificate, make_authority, make_certificate

from cvserve.cli.main import main
from cvserve.protos import vision_pb2, vision_pb2_grpc


class Service(vision_pb2_grpc.VisionServiceServicer):
    """Requires the token "open", keeps its requests, and can refuse the first ones as if a model were loading."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.task = "classification"
        self.loading = 0

    def GetModelInfo(self, request: Any, context: Any) -> Any:
        if dict(context.invocation_metadata()).get("authorization") != "Bearer open":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "this server needs a token")
        if self.loading:
            self.loading -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "model 'flowers' is still loading; try again")
        self.requests.append(request)
        model = vision_pb2.ModelSpec(name=request.model.name, version=3)
        colors = [0x0000FF, 0xFF0000, 0x00FF00] if self.task == "segmentation" else []
        return vision_pb2.GetModelInfoResponse(model=model, task=self.task, colours=colors)

    def Classify(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return vision_pb2.ClassifyResponse(classes=[vision_pb2.ClassScore(label="rose", index=1, score=0.75)])

    def Detect(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        found = [
            vision_pb2.DetectedObject(
                label=label, index=index, score=score, box=vision_pb2.Box(x_min=4, y_min=5.5, x_max=20, y_max=30)
            )
            for label, index, score in (("person", 2, 0.75), ("cat", 0, 0.5))
        ]
        return vision_pb2.DetectResponse(objects=found, image_width=64, image_height=48)

    def Segment(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        figures = [
            vision_pb2.ClassMask(label=label, index=index, score=0.5, area=area)
            for label, index, area in (("sky", 1, 0.75), ("car", 0, 0.25))
        ]
        response = vision_pb2.SegmentResponse(masks=figures, image_width=64, image_height=48)
        class_map = np.ones((48, 64), np.uint8)
        class_map[:, 48:] = 0
        if request.options.mask_format == vision_pb2.MASK_FORMAT_PNG:
            png = cv2.imencode(".png", class_map)[1].tobytes()
            response.class_map.CopyFrom(vision_pb2.Mask(width=64, height=48, png=png))
        return response


class Health(grpc.GenericRpcHandler):
    """Requires that token too, and does not implement health."""

    def service(self, call: Any) -> Any:
        def check(request: bytes, context: Any) -> bytes:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "this server needs a token")
            return b""

        return grpc.unary_unary_rpc_method_handler(check) if call.method == "/grpc.health.v1.Health/Check" else None


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Certificate, Certificate]:
    authority = make_authority(tmp_path / "tls", "authority")
    return authority, make_certificate(tmp_path / "tls", "localhost", authority)


@pytest.fixture
def target(service: Service) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    vision_pb2_grpc.add_VisionServiceServicer_to_server(service, server)
    server.add_generic_rpc_handlers((Health(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture
def image(tmp_path: Path) -> str:
    file = tmp_path / "photo.jpg"
    file.write_bytes(b"not looked at here")
    return str(file)


def test_a_token_from_a_file_or_the_environment(
    target: str, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CVSERVE_TOKEN", raising=False)
    assert main(["infer", target, "flowers", image]) == 2
    assert "this server needs a token" in capsys.readouterr().err
    file = tmp_path / "token"
    file.write_text("open\n")
    assert main(["infer", target, "flowers", image, "--token-file", str(file)]) == 0
    assert "75.00%  rose" in capsys.readouterr().out
    monkeypatch.setenv("CVSERVE_TOKEN", "open")
    assert main(["infer", target, "flowers", image]) == 0


def test_waiting_for_a_model(
    target: str, service: Service, image: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CVSERVE_TOKEN", "open")
    service.loading = 3
    assert main(["infer", target, "flowers", "--wait", "30", image]) == 0
    assert "75.00%  rose" in capsys.readouterr().out
    assert service.loading == 0
    service.loading = 1
    assert main(["infer", target, "flowers", image]) == 2, "without it nothing is waited for"
    assert "still loading" in capsys.readouterr().err


def test_waiting_ends_after_the_given_time(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    assert main(["infer", "127.0.0.1:1", "--health", "--wait", "1"]) == 2
    assert "127.0.0.1:1 is not ready" in capsys.readouterr().err
    assert time.monotonic() - begun >= 1


def test_a_wrong_token_is_an_error_without_waiting(
    target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CVSERVE_TOKEN", "shut")
    begun = time.monotonic()
    assert main(["infer", target, "--health", "--wait", "120"]) == 2
    assert "this server needs a token" in capsys.readouterr().err
    assert time.monotonic() - begun < 120


def test_invalid_token_files_are_refused(
    target: str, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", target, "flowers", image, "--token-file", str(tmp_path / "nowhere")]) == 2
    assert "no token file" in capsys.readouterr().err
    (tmp_path / "empty").write_text("\n")
    assert main(["infer", target, "flowers", image, "--token-file", str(tmp_path / "empty")]) == 2
    assert "is empty" in capsys.readouterr().err


def test_a_label_and_a_threshold(
    target: str, service: Service, image: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CVSERVE_TOKEN", "open")
    assert main(["infer", target, "flowers", image, "--label", "stable", "--score-threshold", "0.25"]) == 0
    info, asked = service.requests
    assert (info.model.label, asked.model.version, asked.options.score_threshold) == ("stable", 3, 0.25)
    with pytest.raises(SystemExit):
        main(["infer", target, "flowers", image, "--score-threshold", "2"])
    assert "not a number from 0 to 1" in capsys.readouterr().err


def test_boxes_of_a_detector(
    target: str,
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CVSERVE_TOKEN", "open")
    service.task = "detection"
    image = tmp_path / "photo.png"
    cv2.imwrite(str(image), np.zeros((48, 64, 3), np.uint8))
    asked = ["infer", target, "animals", str(image)]
    assert main([*asked, "--score-threshold", "0.1", "--max-results", "7", "--annotate", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{image} (64 x 48): 2 objects",
        "   75.00%  person     4.0     5.5    20.0    30.0",
        "   50.00%  cat        4.0     5.5    20.0    30.0",
    ]
    request = service.requests[-1]
    assert (round(request.options.score_threshold, 6), request.options.max_results) == (0.1, 7)
    [drawn] = (tmp_path / "out").rglob("*.jpg")
    assert cv2.imread(str(drawn)).max() > 100
    assert main([*asked, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["task"], row["width"], row["height"]) == ("detection", 64, 48)
    assert row["detections"][0] == {"label": "person", "index": 2, "score": 0.75, "box": [4.0, 5.5, 20.0, 30.0]}
    assert not service.requests[-1].options.HasField("score_threshold")


def test_class_maps_are_shown_and_drawn(
    target: str,
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CVSERVE_TOKEN", "open")
    service.task = "segmentation"
    image = tmp_path / "photo.png"
    cv2.imwrite(str(image), np.zeros((48, 64, 3), np.uint8))
    asked = ["infer", target, "streets", str(image)]
    assert main(asked) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{image} (64 x 48)",
        "   75.00%  sky   50.00% sure",
        "   25.00%  car   50.00% sure",
    ]
    assert service.requests[-1].options.mask_format == vision_pb2.MASK_FORMAT_NONE
    assert main([*asked, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["task"], row["width"], row["height"]) == ("segmentation", 64, 48)
    png = base64.b64decode(row["segmentation"]["class_map"])
    assert cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED).mean() == 0.75
    assert main([*asked, "--json", "--mask-format", "none", "--annotate", str(tmp_path / "out")]) == 0
    assert "class_map" not in json.loads(capsys.readouterr().out)["segmentation"]
    [drawn] = (tmp_path / "out").rglob("*.jpg")
    # Red is the colour of class 1, from the server.
    blue, green, red = cv2.imread(str(drawn))[150, 20].tolist()
    assert red > 100 > max(blue, green)
    service.task = "detection"
    assert main([*asked, "--mask-format", "png"]) == 2
    assert "--mask-format is for segmentation models; streets does detection" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ("depth", "flowers is a model for depth, which this command cannot show yet"),
        ("", "flowers takes tensors, not images"),
    ],
)
def test_models_whose_results_it_cannot_show(
    target: str,
    service: Service,
    image: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    task: str,
    sentence: str,
) -> None:
    monkeypatch.setenv("CVSERVE_TOKEN", "open")
    service.task = task
    assert main(["infer", target, "flowers", image]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_an_invalid_timeout_is_refused(
    target: str, image: str, capsys: pytest.CaptureFixture[str], seconds: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["infer", target, "flowers", image, "--timeout", seconds])
    assert ended.value.code == 2
    assert f"'{seconds}' is not a number of seconds" in capsys.readouterr().err


def test_tls(
    service: Service,
    image: str,
    certificate: tuple[Certificate, Certificate],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CVSERVE_TOKEN", "open")
    authority, own = certificate
    server = grpc.server(futures.ThreadPoolExecutor(2))
    vision_pb2_grpc.add_VisionServiceServicer_to_server(service, server)
    secured = grpc.ssl_server_credentials([(own.key_pem, own.pem)], authority.pem, require_client_auth=True)
    target = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', secured)}"
    server.start()
    try:
        words = ["infer", target, "flowers", image, "--ca", str(authority.certificate)]
        assert main([*words, "--certificate", str(own.certificate), "--key", str(own.key)]) == 0
        assert main([*words, "--certificate", str(own.certificate)]) == 2
        assert "go together" in capsys.readouterr().err
    finally:
        server.stop(None)
