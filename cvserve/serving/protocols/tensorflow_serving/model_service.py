"""The service tensorflow.serving.ModelService."""

from __future__ import annotations

from typing import Any

import grpc

from cvserve.errors import InvalidInput
from cvserve.protos import tensorflow_serving as protos
from cvserve.serving.core.engine import Engine, ModelRef
from cvserve.serving.errors import status_of, text_of
from cvserve.serving.protocols.tensorflow_serving.model_server.model_configs import model_configs
from cvserve.serving.protocols.tensorflow_serving.prediction_service import model_ref


def model_status(engine: Engine, model: ModelRef) -> Any:
    """Returns a GetModelStatusResponse for one version, or for every version of a model. REST sends it as JSON.

    Raises:
        InvalidInput: an unknown label. NotFound: no such model or version.
    """
    response = protos.GetModelStatusResponse()
    for status in engine.manager.status(model.name, engine.version_of(model)):
        entry = response.model_version_status.add(version=status.version, state=int(status.state))
        if status.error is None:
            entry.status.error_code = 0
        else:
            entry.status.error_code = getattr(grpc.StatusCode, status_of(status.error).grpc).value[0]
            entry.status.error_message = text_of(status.error)
    return response


class ModelService:
    """Reports the state of the models, and changes which of them are served."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def GetModelStatus(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Returns the state of one version, or of every version of a model, with the error of those that failed."""
        if not request.HasField("model_spec"):
            raise InvalidInput("Missing ModelSpec")
        return model_status(self._engine, model_ref(request.model_spec))

    async def HandleReloadConfigRequest(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Serves the models of the list and no others; answers when all that can be loaded are loaded."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise InvalidInput(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        await self._engine.reconciler.apply(model_configs(request.config, self._engine.settings_of))
        response = protos.ReloadConfigResponse()
        response.status.error_code = 0
        return response
