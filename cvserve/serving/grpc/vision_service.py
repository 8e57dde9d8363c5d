"""cvserve.v1.VisionService, and the conversion of its messages."""

from __future__ import annotations

from typing import Any

import grpc

from cvserve.protos import vision_pb2, vision_pb2_grpc
from cvserve.serving.core.engine import Engine, ModelRef
from cvserve.serving.grpc.calls import answering, deadline_of


class VisionService(vision_pb2_grpc.VisionServiceServicer):
    """Encoded pictures in, typed results out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @answering
    async def Classify(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """The best classes of one picture."""
        answer = await self._engine.classify(
            _model_ref(request.model), request.image, request.top_k or None, deadline=deadline_of(context)
        )
        return vision_pb2.ClassifyResponse(
            model=_model_spec(answer.model),
            classes=[
                vision_pb2.ClassScore(label=item.label, index=item.index, score=item.score)
                for item in answer.result.classes
            ],
        )

    @answering
    async def GetModelInfo(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """What a model is."""
        info = self._engine.model_info(_model_ref(request.model))
        manifest = info.servable.manifest
        return vision_pb2.GetModelInfoResponse(
            model=_model_spec(info.model),
            task=manifest.task,
            labels=manifest.labels,
            input_height=manifest.preproc.height,
            input_width=manifest.preproc.width,
            versions=info.versions,
            runtime=info.servable.runtime_name,
        )


def _model_ref(spec: Any) -> ModelRef:
    return ModelRef(spec.name, spec.version if spec.HasField("version") else None)


def _model_spec(model: ModelRef) -> Any:
    return vision_pb2.ModelSpec(name=model.name, version=model.version)
