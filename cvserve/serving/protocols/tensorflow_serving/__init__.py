"""The protocol of TensorFlow Serving: its gRPC services, REST API, metric names and warm-up records.

`model_server` has the flags and files of its server, tensorflow_model_server.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvserve.serving.transport.protocol import Endpoints, GrpcMethod, GrpcService, Host, Protocol

if TYPE_CHECKING:
    from cvserve.serving.core.batching.execution import RunGraph
    from cvserve.serving.core.signatures import Signature


def open_tensorflow_serving(host: Host) -> Endpoints:
    """Returns the services and the REST API for one server."""
    from cvserve.protos import tensorflow_serving as protos
    from cvserve.serving.protocols.tensorflow_serving.inference import ExampleInference
    from cvserve.serving.protocols.tensorflow_serving.metric_names import TensorFlowServingMetrics
    from cvserve.serving.protocols.tensorflow_serving.model_service import ModelService
    from cvserve.serving.protocols.tensorflow_serving.prediction_service import PredictionService
    from cvserve.serving.protocols.tensorflow_serving.rest.rest import Rest

    engine, settings = host.engine, host.settings
    metrics = TensorFlowServingMetrics(host.registry)
    inference = ExampleInference(engine, metrics)
    asks_model = GrpcMethod(model_of=_model_of, version_of=_version_of)
    prediction = GrpcService(
        protos.PREDICTION_SERVICE,
        PredictionService(engine, inference, settings.max_message_bytes, settings.tensor_content),
        methods={
            "Predict": asks_model,
            "Classify": asks_model,
            "Regress": asks_model,
            # All tasks of a request must name the same model.
            "MultiInference": GrpcMethod(model_of=lambda request: _model_of(request.tasks[0]) if request.tasks else ""),
            "GetModelMetadata": GrpcMethod(model_of=_model_of, version_of=_version_of),
        },
        health_names=("PredictionService",),
    )
    models = GrpcService(
        protos.MODEL_SERVICE,
        ModelService(engine),
        methods={
            "GetModelStatus": GrpcMethod(model_of=_model_of),
            "HandleReloadConfigRequest": GrpcMethod(right="management"),
        },
        health_names=("ModelService",),
    )
    return Endpoints(grpc=[prediction, models], http=[Rest(engine, inference, host.threads).routes], metrics=metrics)


def warm_up(directory: Path, signatures: Mapping[str, Signature], runs: Mapping[str, RunGraph]) -> None:
    """Replays the warm-up requests that lie beside a SavedModel. See `warmup.replay`."""
    from cvserve.serving.protocols.tensorflow_serving import warmup

    warmup.replay(directory, signatures, runs)


def _model_of(request: Any) -> str:
    return str(request.model_spec.name)


def _version_of(response: Any) -> int:
    return int(response.model_spec.version.value)


PROTOCOL = Protocol("TensorFlow Serving", open_tensorflow_serving, warm_up)
