"""What the toy protocol does: converts a request to the engine's terms, and its answer back."""

from __future__ import annotations

from typing import Any

import grpc

from cvserve.errors import FailedPrecondition, NotFound
from cvserve.postproc.results import ClassificationResult
from cvserve.serving.core.engine import Engine, ModelRef
from cvserve.serving.transport.grpc.calls import deadline_of
from cvserve.serving.transport.protocol import HttpAnswer, HttpCall, HttpRequest
from toy_protocol.messages import BestResponse


class ToyService:
    """Answers with the best class of an image."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def Best(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Answers over gRPC."""
        label, version = await self._best(request.model, request.image, deadline_of(context))
        return BestResponse(label=label, version=version)

    def route(self, request: HttpRequest) -> HttpCall:
        """Returns what `POST /toy/MODEL` asks: the body is the image."""
        model = request.path.removeprefix("/toy/")
        if request.method != "POST" or "/" in model:
            raise NotFound(f"the toy protocol has no {request.method} {request.path}")

        async def answer(body: bytes, deadline: float) -> HttpAnswer:
            label, version = await self._best(model, body, deadline)
            return HttpAnswer(label.encode(), version, content_type="text/plain")

        return HttpCall("best", model, answer)

    async def _best(self, model: str, image: bytes, deadline: float) -> tuple[str, int | None]:
        if image == b"bug":
            raise RuntimeError("the toy is broken")
        answer = await self._engine.answer(ModelRef(model), image, deadline=deadline)
        if not isinstance(answer.result, ClassificationResult):
            raise FailedPrecondition(f"model {model!r} gives no classes")
        return answer.result.best.label, answer.model.version
