"""onnxruntime on a GPU: its options, the errors that it must not hide, and its answers where there is a GPU."""

from __future__ import annotations

import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from convolutions import SIZE, write_convolutions
from nvidia import need_gpu, used_mib
from toy_graph import photos

from cvserve.errors import (
    ArtifactError,
    CvserveError,
    DeviceLost,
    FailedPrecondition,
    InvalidInput,
    OutOfMemory,
    Unavailable,
)
from cvserve.runtimes import cuda, open_graph
from cvserve.runtimes.device import Device, Resources
from cvserve.runtimes.onnx import OnnxRuntime

GPU = Device("gpu", 1)


class Fail(Exception):
    """Stands for onnxruntime's own exceptions, which are not RuntimeErrors."""


class Session:
    """Records the shapes that it was run with."""

    def __init__(self, providers: list[str]) -> None:
        self._providers = providers
        self.shapes: list[tuple[int, ...]] = []
        self.failure: Exception | None = None

    def get_providers(self) -> list[str]:
        return self._providers

    def get_inputs(self) -> list[str]:
        return ["x"]

    def get_outputs(self) -> list[str]:
        return ["y"]

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.shapes.append(feed["x"].shape)
        if self.failure is not None:
            raise type(self.failure)(str(self.failure))
        return [feed["x"] * 2]


class Library:
    """Behaves like onnxruntime with CUDA: a session has only the providers that could be used."""

    __file__ = "/nowhere/onnxruntime/__init__.py"
    capi = SimpleNamespace(onnxruntime_pybind11_state=SimpleNamespace(Fail=Fail))

    def __init__(self, used: tuple[str, ...] = (cuda.PROVIDER,), failure: Exception | None = None) -> None:
        self._used = used
        self.failure = failure
        self.preloaded = 0
        self.asked: dict[str, Any] = {}
        self.sessions: list[Session] = []

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", cuda.PROVIDER, "CPUExecutionProvider"]

    def set_default_logger_severity(self, severity: int) -> None:
        assert severity == 3

    def preload_dlls(self) -> None:
        self.preloaded += 1
        print("Failed to load libcublas.so.13")

    def InferenceSession(self, path: str, options: Any, **asked: Any) -> Any:
        self.asked = asked
        if self.failure is not None:
            raise self.failure
        self.sessions.append(Session([*self._used, "CPUExecutionProvider"]))
        return self.sessions[-1]


def open_with(library: Library, **resources: Any) -> Any:
    return cuda.open_session(library, Path("m.onnx"), None, GPU, Resources(**resources))


def test_the_options_of_onnxruntime_for_a_gpu() -> None:
    told = cuda.provider_options(GPU, Resources(gpu_memory_mib=2, gpu_memory_growth=False))
    assert (told["device_id"], told["gpu_mem_limit"]) == (1, 2 << 20)
    assert "arena_extend_strategy" not in told
    told = cuda.provider_options(Device("gpu"), Resources())
    assert (told["device_id"], told["arena_extend_strategy"]) == (0, "kSameAsRequested")
    assert "gpu_mem_limit" not in told
    assert told["use_tf32"] == 0, "answers stay those of the CPU unless the setting allows TensorFloat-32"
    assert cuda.provider_options(GPU, Resources(gpu_tf32=True))["use_tf32"] == 1


def test_the_session_must_not_fall_back_to_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    library = Library()
    open_with(library)
    assert library.asked["enable_fallback"] == 0
    assert [library.asked["providers"][0][0], *library.asked["providers"][1:]] == [
        cuda.PROVIDER,
        "CPUExecutionProvider",
    ]
    assert capsys.readouterr().out == "", "answers may go to the standard output"
    open_with(library)
    assert library.preloaded == 1


def run(opened: Any, rows: int) -> None:
    (answer,) = opened.run(["y"], {"x": np.full((rows, 2), 3.0)})
    np.testing.assert_array_equal(answer, np.full((rows, 2), 6.0))


def test_each_session_computes_one_shape() -> None:
    library = Library()
    opened = open_with(library)
    assert (opened.get_inputs(), opened.get_outputs()) == (["x"], ["y"])
    for rows in (1, 8, 1, 8, 32, 1):
        run(opened, rows)
    assert [session.shapes for session in library.sessions] == [[(1, 2)] * 3, [(8, 2)] * 2, [(32, 2)]]


def test_the_sessions_of_the_shapes_used_last_are_kept() -> None:
    library = Library()
    opened = open_with(library)
    for rows in range(1, cuda.MAX_SESSIONS + 1):
        run(opened, rows)
    run(opened, 1)
    run(opened, 100)  # replaces 2
    run(opened, 1)
    assert len(library.sessions) == cuda.MAX_SESSIONS + 1
    run(opened, 2)
    assert len(library.sessions) == cuda.MAX_SESSIONS + 2


def test_with_a_limit_of_the_memory_there_is_one_session_at_a_time() -> None:
    library = Library()
    opened = open_with(library, gpu_memory_mib=100)
    for rows in (4, 4, 1, 4):
        run(opened, rows)
    assert [session.shapes for session in library.sessions] == [[(4, 2)] * 2, [(1, 2)], [(4, 2)]]


def test_concurrent_calls_share_one_session() -> None:
    library = Library()
    opened = open_with(library)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: run(opened, (1, 8)[index % 2]), range(200)))
    assert len(library.sessions) == 2
    assert sum(len(session.shapes) for session in library.sessions) == 200


def test_while_a_session_opens_other_shapes_are_computed() -> None:
    library = Library()
    opened = open_with(library)
    run(opened, 1)
    opening, go_on = threading.Event(), threading.Event()
    open_at_once = library.InferenceSession

    def open_slowly(*arguments: Any, **asked: Any) -> Any:
        opening.set()
        assert go_on.wait(10)
        return open_at_once(*arguments, **asked)

    library.InferenceSession = open_slowly  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(run, opened, 8) for _ in range(2)]
        assert opening.wait(10)
        run(opened, 1)
        go_on.set()
        for future in both:
            future.result(10)
    assert [session.shapes for session in library.sessions] == [[(1, 2)] * 2, [(8, 2)] * 2]


@pytest.mark.parametrize(
    "text", ["CUDA failure 2: out of memory", "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"]
)
def test_a_session_without_enough_memory_frees_its_own(text: str) -> None:
    library = Library()
    opened = open_with(library)
    run(opened, 1)
    run(opened, 64)
    held = weakref.ref(library.sessions[1])
    library.sessions[1].failure = Fail(text)
    with pytest.raises(Fail):
        run(opened, 64)
    del library.sessions[1]
    assert held() is None
    run(opened, 1)
    run(opened, 64)
    assert [session.shapes for session in library.sessions] == [[(1, 2)] * 2, [(64, 2)]]


def test_an_error_of_a_client_keeps_the_session() -> None:
    library = Library()
    opened = open_with(library)
    run(opened, 1)
    library.sessions[0].failure = Fail("Got invalid dimensions")
    with pytest.raises(Fail):
        run(opened, 1)
    library.sessions[0].failure = None
    run(opened, 1)
    assert len(library.sessions) == 1


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Fail("[ONNXRuntimeError] : CUDA failure 700: an illegal memory access"), DeviceLost),
        (RuntimeError("CUDA failure 2: out of memory"), RuntimeError),  # which OnnxRuntime makes OutOfMemory
    ],
)
def test_a_session_that_cannot_be_opened_later_is_tried_again(failure: Exception, kind: type[Exception]) -> None:
    library = Library()
    opened = open_with(library)
    run(opened, 1)
    library.failure = failure
    for _ in range(2):
        with pytest.raises(kind):
            run(opened, 8)
        run(opened, 1)
    library.failure = None
    run(opened, 8)


def test_a_session_that_fell_back_to_the_cpu_is_refused() -> None:
    with pytest.raises(
        FailedPrecondition, match=r"cannot use gpu:1: .*providers_cuda.so.*onnxruntime-gpu\[cuda,cudnn\]"
    ):
        open_with(Library(used=()))


@pytest.mark.parametrize("kind", [RuntimeError, Fail])
def test_a_missing_gpu_is_not_an_error_of_the_file(kind: type[Exception]) -> None:
    failure = kind(
        "/src/provider_info.cc:63 Make() [ONNXRuntimeError] : 1 : FAIL : Invalid device ID: 1\nat cuda.cc:121"
    )
    with pytest.raises(FailedPrecondition, match="cannot use gpu:1: 1 : FAIL : Invalid device ID: 1"):
        open_with(Library(failure=failure))


def test_an_onnxruntime_without_cuda_names_the_package_to_install(onnx_file: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if cuda.PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(FailedPrecondition, match=r"no CUDA, so it cannot use gpu:0; .*onnxruntime-gpu\[cuda,cudnn\]"):
        open_graph(onnx_file, "onnx", device="gpu")


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        ("CUDA failure 700: an illegal memory access was encountered ; GPU=0", DeviceLost, "gpu:0 failed: CUDA fail"),
        ("CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0", DeviceLost, "gpu:0 failed: CUDNN failure 5000"),
        ("CUDA failure 1: invalid argument ; GPU=0", Unavailable, "gpu:0 failed: CUDA failure 1"),
        ("CUDNN failure 3000: CUDNN_STATUS_NOT_SUPPORTED ; GPU=0", Unavailable, "gpu:0 failed: CUDNN failure 3000"),
        ("CUDA failure 2: out of memory ; GPU=0", OutOfMemory, "gpu:0 has no memory left"),
        ("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ; GPU=0", OutOfMemory, "gpu:0 has no memory left"),
        ("BFCArena: Available memory of 9 is smaller than requested bytes of 10", OutOfMemory, "has no memory left"),
        ("Got invalid dimensions for input: images", InvalidInput, "cannot run the model on this input: Got invalid"),
    ],
)
def test_the_cause_of_a_failed_call(
    onnx_file: Path, monkeypatch: pytest.MonkeyPatch, text: str, kind: type[CvserveError], sentence: str
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError(f"[ONNXRuntimeError] : {text}\nsecond line")

    runtime = OnnxRuntime(onnx_file)
    monkeypatch.setattr(runtime, "_session", SimpleNamespace(run=fail))
    monkeypatch.setattr(runtime, "_device", "gpu:0")
    with pytest.raises(kind, match=sentence) as caught:
        runtime.run({"images": photos(1)})
    assert type(caught.value) is kind, "a lost device is Unavailable, too"
    assert "\n" not in str(caught.value)


# On a GPU:


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    need_gpu()
    pytest.importorskip("onnx")
    write_convolutions(tmp_path / "convolutions.onnx")
    return tmp_path / "convolutions.onnx"


def noise(count: int) -> dict[str, np.ndarray]:
    return {"images": np.random.default_rng(1).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)}


def test_a_gpu_answers_as_the_cpu_does(graph: Path) -> None:
    images = noise(32)
    on_cpu = open_graph(graph, "onnx", device="cpu").run(images)["probabilities"]
    runtime = open_graph(graph, "onnx", device="gpu")
    np.testing.assert_allclose(runtime.run(images)["probabilities"], on_cpu, atol=2e-5)
    # Each batch size on its own, as the batcher sends them.
    for count in (1, 3, 32):
        part = {"images": images["images"][:count]}
        np.testing.assert_allclose(runtime.run(part)["probabilities"], on_cpu[:count], atol=2e-5)


def test_batch_sizes_in_turns_cost_no_more_than_one(graph: Path) -> None:
    runtime = open_graph(graph, "onnx", device="gpu")
    for count in (1, 8):
        runtime.run(noise(count))
    began = time.perf_counter()
    for count in (1, 8) * 20:
        runtime.run(noise(count))
    assert time.perf_counter() - began < 1.0, "with one session for both it takes ten times as long"


def test_no_such_gpu(graph: Path) -> None:
    with pytest.raises(FailedPrecondition, match="gpu:99"):
        open_graph(graph, "onnx", device="gpu:99")


def test_a_damaged_file_is_damaged_on_a_gpu_too(graph: Path, capfd: pytest.CaptureFixture[str]) -> None:
    graph.write_bytes(b"\x08\x08nothing")
    with pytest.raises(ArtifactError, match="onnxruntime cannot load"):
        open_graph(graph, "onnx", device="gpu")
    assert capfd.readouterr().out == ""


def test_memory_beyond_the_limit_is_refused_and_a_smaller_batch_runs(graph: Path) -> None:
    runtime = open_graph(graph, "onnx", device="gpu", resources=Resources(gpu_memory_mib=64))
    with pytest.raises(OutOfMemory, match="gpu:0 has no memory left"):
        runtime.run(noise(2000))  # 2000 x 64 x 16 x 16 floats: 125 MiB for one of its tensors
    assert runtime.run(noise(2))["probabilities"].shape == (2, 3)


def test_closing_gives_the_memory_back(graph: Path) -> None:
    open_graph(graph, "onnx", device="gpu").run(noise(2))  # CUDA's own memory, which stays, is taken now
    before = used_mib()
    runtime = open_graph(graph, "onnx", device="gpu")
    runtime.run(noise(4000))
    during = used_mib()
    assert during >= before + 200
    runtime.close()
    assert used_mib() <= before + 20
