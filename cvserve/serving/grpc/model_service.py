"""tensorflow.serving.ModelService."""

from __future__ import annotations

from typing import Any

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from cvserve.errors import InvalidInput, Unimplemented
from cvserve.serving.core.engine import Engine
from cvserve.serving.errors import status_of, text_of
from cvserve.serving.grpc.calls import answering
from cvserve.serving.grpc.prediction_service import model_ref


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus; models are chosen when the server starts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @answering
    async def GetModelStatus(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """The state of one version, or of every version of a model, with the error of those that failed."""
        if not request.HasField("model_spec"):
            raise InvalidInput("Missing ModelSpec")
        model = model_ref(request.model_spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in self._engine.manager.status(model.name, model.version):
            entry = response.model_version_status.add(version=status.version, state=int(status.state))
            if status.error is None:
                entry.status.error_code = 0
            else:
                entry.status.error_code = getattr(grpc.StatusCode, status_of(status.error).grpc).value[0]
                entry.status.error_message = text_of(status.error)
        return response

    @answering
    async def HandleReloadConfigRequest(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        raise Unimplemented("this server does not reload its configuration; restart it with the new one")
