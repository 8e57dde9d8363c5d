"""The errors of half-plus-two, served without a manifest, for wrong requests, with TensorFlow Serving's texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from half_plus_two_requests import (
    CLASSIFY,
    CODES,
    REGRESS,
    asking,
    classify,
    code_and_text,
    example,
    multi,
    predict,
    regress,
    write_models,
)

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of all forms."""
    return write_models(tmp_path_factory.mktemp("without_manifest"))


def other_model() -> Any:
    message = multi(("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY))
    message.tasks[1].model_spec.name = "another"
    return message


def unnamed() -> Any:
    message = multi(("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY))
    message.tasks[1].model_spec.name = ""
    return message


@pytest.mark.parametrize(
    ("method", "message", "code", "text"),
    [
        ("Classify", classify(), CODES.INVALID_ARGUMENT, "Input is empty."),
        ("Regress", regress(), CODES.INVALID_ARGUMENT, "Input is empty."),
        ("MultiInference", multi(("regress_x_to_y", REGRESS), examples=()), CODES.INVALID_ARGUMENT, "Input is empty."),
        (
            "Classify",
            classify(example(x=1), signature="nope"),
            CODES.INVALID_ARGUMENT,
            "No signature was found with the name: nope",
        ),
        (
            "Regress",
            regress(example(x=1), signature="nope"),
            CODES.INVALID_ARGUMENT,
            "No signature was found with the name: nope",
        ),
        (
            "Classify",
            classify(example(x=1), signature=""),
            CODES.FAILED_PRECONDITION,
            "No classification inputs found in SignatureDef: inputs {",
        ),
        (
            "Regress",
            regress(example(x=1), signature=""),
            CODES.FAILED_PRECONDITION,
            "No regression inputs found in SignatureDef: inputs {",
        ),
        (
            "Classify",
            classify(example(x=1), signature="regress_x_to_y"),
            CODES.FAILED_PRECONDITION,
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            "Signature was: inputs {",
        ),
        (
            "Regress",
            regress(example(x=1), signature="classify_x_to_y"),
            CODES.FAILED_PRECONDITION,
            "No regression outputs found in SignatureDef: inputs {",
        ),
        (
            "Regress",
            regress(example(x2=1), signature="regress_x2_to_y3"),
            CODES.INVALID_ARGUMENT,
            "input 'inputs' is bytes, but signature 'regress_x2_to_y3' takes float32",
        ),
        ("Regress", regress(example(z=1)), CODES.INVALID_ARGUMENT, "Name: <unknown>, Feature: x (data type: float)"),
        ("MultiInference", multi(), CODES.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        ("MultiInference", unnamed(), CODES.INVALID_ARGUMENT, "Found ModelSpec with an empty model name."),
        (
            "MultiInference",
            other_model(),
            CODES.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            "MultiInference",
            multi(("regress_x_to_y", REGRESS), ("regress_x_to_y", CLASSIFY)),
            CODES.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: regress_x_to_y",
        ),
        (
            "MultiInference",
            multi(("nope", REGRESS)),
            CODES.INVALID_ARGUMENT,
            "Requested signature not found in model graph: nope",
        ),
        (
            "MultiInference",
            multi(("regress_x_to_y", "tensorflow/serving/predict")),
            CODES.INVALID_ARGUMENT,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            "MultiInference",
            multi(("regress_x_to_y", REGRESS), ("regress_x2_to_y3", REGRESS)),
            CODES.INVALID_ARGUMENT,
            "Input tensor must be the same for all Signatures.",
        ),
        (
            "Regress",
            regress(example(x=1), name="nope"),
            CODES.NOT_FOUND,
            "Servable not found for request: Latest(nope)",
        ),
        ("Classify", classify(example(x=1), name=""), CODES.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (
            "Predict",
            predict("tf1", [1.0], "nope"),
            CODES.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
        ),
    ],
)
async def test_errors_of_clients(models: Path, method: str, message: Any, code: grpc.StatusCode, text: str) -> None:
    async with asking(models / "tf1") as ask:
        found = await code_and_text(getattr(ask.prediction, method)(message, timeout=10))
        assert found[0] is code, found
        assert found[1].startswith(text), found
        # An error of one request does not affect the next.
        assert (await ask.prediction.Predict(predict("tf1", [2.0]), timeout=10)).outputs["y"].float_val[0] == 3.0
