"""tensorflow.serving.PredictionService."""

from __future__ import annotations

from typing import Any

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from cvserve.errors import InvalidInput, Unimplemented
from cvserve.serving.core.engine import Engine, ModelRef, PredictRequest
from cvserve.serving.grpc.calls import answering, deadline_of
from cvserve.serving.grpc.convert import to_arrays, write_tensor
from cvserve.serving.grpc.signature_defs import signature_def_map

SIGNATURE_DEF = "signature_def"


def model_ref(spec: Any) -> ModelRef:
    """A tensorflow.serving.ModelSpec as a ModelRef.

    Raises:
        InvalidInput: a version label, which no model here has.
    """
    choice = spec.WhichOneof("version_choice")
    if choice == "version_label":
        raise InvalidInput(f"Unrecognized servable version label: {spec.version_label}")
    return ModelRef(spec.name, spec.version.value if choice == "version" else None)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Predict and GetModelMetadata; the methods that take tf.Example are not there yet."""

    def __init__(self, engine: Engine, max_tensor_bytes: int) -> None:
        """
        Args:
            max_tensor_bytes: of all arrays that the inputs of one request stand for.
        """
        self._engine = engine
        self._max_tensor_bytes = max_tensor_bytes

    @answering
    async def Predict(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Tensors in, tensors out; the answer names the effective signature and version."""
        model = model_ref(request.model_spec)
        self._engine.model_info(model)  # a model that is not there costs no conversion
        answer = await self._engine.predict(
            PredictRequest(
                model=model,
                signature=request.model_spec.signature_name,
                inputs=to_arrays(request.inputs, self._max_tensor_bytes),
                output_filter=request.output_filter,
                deadline=deadline_of(context),
            )
        )
        response = predict_pb2.PredictResponse()
        for name, array in answer.outputs.items():
            write_tensor(array, response.outputs[name])
        _name(response.model_spec, answer.model)
        response.model_spec.signature_name = answer.signature
        return response

    @answering
    async def GetModelMetadata(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """The signatures of a model."""
        if not request.HasField("model_spec"):
            raise InvalidInput("Missing ModelSpec")
        if not request.metadata_field:
            raise InvalidInput("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise InvalidInput(f"Metadata field {field} is not supported")
        info = self._engine.model_info(model_ref(request.model_spec))
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        _name(response.model_spec, info.model)
        response.metadata[SIGNATURE_DEF].Pack(signature_def_map(info.signatures))
        return response

    @answering
    async def Classify(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        raise Unimplemented(_NOT_EXAMPLES)

    @answering
    async def Regress(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        raise Unimplemented(_NOT_EXAMPLES)

    @answering
    async def MultiInference(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        raise Unimplemented(_NOT_EXAMPLES)


_NOT_EXAMPLES = "this server does not take tf.Example; use Predict, or cvserve.v1.VisionService/Classify for pictures"


def _name(spec: Any, model: ModelRef) -> None:
    spec.name = model.name
    if model.version is not None:
        spec.version.value = model.version
