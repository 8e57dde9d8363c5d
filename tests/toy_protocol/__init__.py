"""A toy protocol, added to a server from outside: the best class of an image, over gRPC and HTTP."""

from __future__ import annotations

from cvserve.serving.transport.protocol import Endpoints, GrpcMethod, GrpcService, Host, HttpRoutes, Protocol


def open_toy(host: Host) -> Endpoints:
    """Returns the service and the paths for one server."""
    from toy_protocol.messages import SERVICE
    from toy_protocol.service import ToyService

    service = ToyService(host.engine)
    best = GrpcMethod(
        model_of=lambda request: str(request.model),
        version_of=lambda response: int(response.version),
    )
    return Endpoints(
        grpc=[GrpcService(SERVICE, service, {"Best": best})],
        http=[HttpRoutes("/toy/", service.route)],
    )


PROTOCOL = Protocol("toy", open_toy)
