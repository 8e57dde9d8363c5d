"""BatchingParameters as settings of our batcher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvserve.errors import InvalidInput
from cvserve.protos.model_server_pb2 import BatchingParameters
from cvserve.serving.core.settings import ModelSettings
from cvserve.serving.protocols.tensorflow_serving.model_server.batching import UNBATCHED, batching_settings
from cvserve.serving.protocols.tensorflow_serving.model_server.text_proto import read_text_proto
from cvserve.settings import parse

# tensorflow_serving/servables/tensorflow/testdata/batching_config.txt
OFFICIAL = """
max_batch_size { value: 128 }
batch_timeout_micros { value: 0 }
max_enqueued_batches { value: 1000000 }
num_batch_threads { value: 8 }
"""


def settings(text: str, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "batching.txt").write_text(text)
    values = batching_settings(read_text_proto(tmp_path / "batching.txt", BatchingParameters))
    parse(ModelSettings, values, "the file")  # they are settings that can be used
    return values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "",
            {
                "batching": True,
                "max_batch_size": None,
                "allowed_batch_sizes": (),
                "batch_delay_ms": 0,
                "max_queue_requests": 10_000,
                "max_request_rows": 1000,
            },
        ),
        (
            OFFICIAL,
            {
                "batching": True,
                "max_batch_size": 128,
                "allowed_batch_sizes": (),
                "batch_delay_ms": 0,
                "max_queue_requests": 128_000_000,
                "max_request_rows": 128,
                "instances": 8,
            },
        ),
        ("batch_timeout_micros { value: 2500 }", {"batch_delay_ms": 2.5}),
        ("max_enqueued_batches { value: 0 }", {"max_queue_requests": 1}),
        ("num_batch_threads { value: 1000 }", {"instances": 256}),
        ('thread_pool_name { value: "pool" }', {"batching": True}),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 8",
            {"max_batch_size": 8, "allowed_batch_sizes": (2, 8)},
        ),
        ("allowed_batch_sizes: [10, 1000]", {"max_batch_size": 1000, "allowed_batch_sizes": (10, 1000)}),
        (
            "max_batch_size { value: 100 } enable_large_batch_splitting { value: true }",
            {"max_batch_size": 100, "max_request_rows": 100},
        ),
        (
            "max_batch_size { value: 100 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 10 }",
            {"max_batch_size": 10, "max_request_rows": 100},
        ),
        # Relevant only with splitting.
        ("max_batch_size { value: 100 } max_execution_batch_size { value: 10 }", {"max_batch_size": 100}),
        # What is sent in batches of 10 at most is padded to 16; 64 is never reached.
        (
            "max_batch_size { value: 64 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 10 } allowed_batch_sizes: [4, 16, 64]",
            {"max_batch_size": 16, "max_request_rows": 64, "allowed_batch_sizes": (4, 16)},
        ),
        (
            "max_batch_size { value: 64 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 10 } allowed_batch_sizes: [4, 10]",
            {"max_batch_size": 10, "allowed_batch_sizes": (4, 10)},
        ),
    ],
)
def test_the_settings_of_parameters(text: str, expected: dict[str, Any], tmp_path: Path) -> None:
    found = settings(text, tmp_path)
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        ("batch_timeout_micros { value: 60000001 }", "batch_timeout_micros can be at most 60000000, a minute"),
        ("max_enqueued_batches { value: -2 }", "max_enqueued_batches must be non-negative; was -2"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 4",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        (
            "allowed_batch_sizes: 32",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 32; expected 1000",
        ),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [4, 4, 8]",
            "allowed_batch_sizes entries must be positive and monotonically increasing",
        ),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [0, 8]",
            "allowed_batch_sizes entries must be positive and monotonically increasing",
        ),
        (
            "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 9 }",
            "max_batch_size must be greater than or equal to max_execution_batch_size",
        ),
        (
            "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 0 }",
            "max_execution_batch_size must be positive; was 0",
        ),
        # The most common mistake: wrappers need braces.
        ("max_batch_size: 32", "Error parsing text-format tensorflow.serving.BatchingParameters: 1:17 : "),
        (
            "max_batchsize { value: 3 }",
            'Message type "tensorflow.serving.BatchingParameters" has no field named "max_batchsize"',
        ),
    ],
)
def test_invalid_parameters(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        settings(text, tmp_path)
    assert sentence in str(caught.value)


def test_without_batching_a_request_of_any_size_runs_alone() -> None:
    found = parse(ModelSettings, dict(UNBATCHED), "nothing")
    assert not found.batching
    assert found.max_request_rows > 10**9
