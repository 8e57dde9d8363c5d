"""The service tensorflow.serving.PredictionService."""

from __future__ import annotations

from typing import Any

import grpc

from cvserve.errors import InvalidInput
from cvserve.protos import tensorflow_serving as protos
from cvserve.serving.core.engine import Engine, ModelRef, PredictRequest
from cvserve.serving.protocols.tensorflow_serving.convert import (
    to_arrays,
    to_examples,
    write_classes,
    write_tensor,
    write_values,
)
from cvserve.serving.protocols.tensorflow_serving.examples import Task
from cvserve.serving.protocols.tensorflow_serving.inference import ExampleClasses, ExampleInference, ExampleValues
from cvserve.serving.protocols.tensorflow_serving.signature_defs import signature_def_map
from cvserve.serving.transport.grpc.calls import deadline_of

SIGNATURE_DEF = "signature_def"


def model_ref(spec: Any) -> ModelRef:
    """Returns a tensorflow.serving.ModelSpec as a ModelRef."""
    choice = spec.WhichOneof("version_choice")
    if choice == "version_label":
        return ModelRef(spec.name, None, spec.version_label)
    return ModelRef(spec.name, spec.version.value if choice == "version" else None)


def model_metadata(engine: Engine, model: ModelRef) -> Any:
    """Returns a GetModelMetadataResponse with the signatures of a model. REST sends it as JSON.

    Raises:
        InvalidInput: no name. NotFound, Unavailable
    """
    info = engine.model_info(model)
    response = protos.GetModelMetadataResponse()
    _name(response.model_spec, info.model)
    response.metadata[SIGNATURE_DEF].Pack(signature_def_map(info.signatures))
    return response


class PredictionService:
    """Converts requests to calls of the engine, and its answers to responses."""

    def __init__(
        self, engine: Engine, inference: ExampleInference, max_tensor_bytes: int, tensor_content: bool = False
    ) -> None:
        """
        Args:
            inference: answers requests that hold tf.Examples.
            max_tensor_bytes: the largest size of all input arrays of one request together.
            tensor_content: whether Predict writes tensor_content rather than typed fields.
        """
        self._engine = engine
        self._inference = inference
        self._tensor_content = tensor_content
        self._max_tensor_bytes = max_tensor_bytes

    async def Predict(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Returns the outputs for input tensors; the answer names the effective signature and version."""
        model = model_ref(request.model_spec)
        self._engine.model_info(model)  # fails before the conversion if there is no such model
        answer = await self._engine.predict(
            PredictRequest(
                model=model,
                signature=request.model_spec.signature_name,
                inputs=to_arrays(request.inputs, self._max_tensor_bytes),
                output_filter=request.output_filter,
                deadline=deadline_of(context),
            )
        )
        response = protos.PredictResponse()
        for name, array in answer.outputs.items():
            write_tensor(array, response.outputs[name], as_content=self._tensor_content)
        _name(response.model_spec, answer.model)
        response.model_spec.signature_name = answer.signature
        return response

    async def GetModelMetadata(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Returns the signatures of a model."""
        if not request.HasField("model_spec"):
            raise InvalidInput("Missing ModelSpec")
        if not request.metadata_field:
            raise InvalidInput("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise InvalidInput(f"Metadata field {field} is not supported")
        return model_metadata(self._engine, model_ref(request.model_spec))

    async def Classify(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Returns the classes of tf.Examples."""
        spec, examples = request.model_spec, to_examples(request.input)
        answer = await self._inference.classify(model_ref(spec), spec.signature_name, examples, deadline_of(context))
        response = protos.ClassificationResponse()
        _write_answer(answer, response.result, response.model_spec)
        return response

    async def Regress(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Returns a number for each tf.Example."""
        spec, examples = request.model_spec, to_examples(request.input)
        answer = await self._inference.regress(model_ref(spec), spec.signature_name, examples, deadline_of(context))
        response = protos.RegressionResponse()
        _write_answer(answer, response.result, response.model_spec)
        return response

    async def MultiInference(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Returns the classes and numbers that several signatures of one model give for tf.Examples."""
        examples = to_examples(request.input)
        tasks = [Task(task.model_spec.name, task.model_spec.signature_name, task.method_name) for task in request.tasks]
        # The version of the first task answers all of them.
        model = model_ref(request.tasks[0].model_spec) if tasks else ModelRef("")
        answers = await self._inference.multi(model, tasks, examples, deadline_of(context))
        response = protos.MultiInferenceResponse()
        for answer in answers:
            result = response.results.add()
            is_classes = isinstance(answer, ExampleClasses)
            target = result.classification_result if is_classes else result.regression_result
            target.SetInParent()
            _write_answer(answer, target, result.model_spec)
        return response


def _write_answer(answer: ExampleClasses | ExampleValues, result: Any, spec: Any) -> None:
    if isinstance(answer, ExampleClasses):
        write_classes(answer.classes, result)
    else:
        write_values(answer.values, result)
    _name(spec, answer.model)
    spec.signature_name = answer.signature


def _name(spec: Any, model: ModelRef) -> None:
    spec.name = model.name
    if model.version is not None:
        spec.version.value = model.version
