"""grpc.health.v1, tied to the state of the models."""

from __future__ import annotations

from collections.abc import Iterable

from grpc_health.v1 import health, health_pb2

from cvserve.serving.core.manager import State, VersionStatus

SERVICES = (
    "",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "cvserve.v1.VisionService",
    # TensorFlow Serving registers its services under these names.
    "PredictionService",
    "ModelService",
)


class Health:
    """What the health service answers: for the whole server under SERVICES, for a model under its name and under
    `name/version`. Anything else is unknown, which is NOT_FOUND."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()

    async def starting(self) -> None:
        """The server is up and its models are loading."""
        for service in SERVICES:
            await self._set(service, False)

    async def update(self, versions: Iterable[VersionStatus], ready: bool) -> None:
        """Publishes the state of every version.

        Args:
            ready: whether the server as a whole takes requests.
        """
        models: dict[str, bool] = {}
        for status in versions:
            available = status.state is State.AVAILABLE
            models[status.name] = models.get(status.name, False) or available
            await self._set(f"{status.name}/{status.version}", available)
        for name, available in models.items():
            await self._set(name, available)
        for service in SERVICES:
            await self._set(service, ready)

    async def draining(self) -> None:
        """Everything turns NOT_SERVING, for good."""
        await self.servicer.enter_graceful_shutdown()

    async def _set(self, service: str, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        await self.servicer.set(service, states.SERVING if serving else states.NOT_SERVING)
