"""The protocol of cvserve itself, cvserve.v1.VisionService: takes encoded images and returns typed results."""

from __future__ import annotations

from cvserve.serving.transport.protocol import Endpoints, GrpcMethod, GrpcService, Host, Protocol


def open_vision(host: Host) -> Endpoints:
    """Returns the vision service for one server."""
    from cvserve.protos import vision_pb2
    from cvserve.serving.protocols.vision.service import VisionService

    image = GrpcMethod(
        model_of=lambda request: str(request.model.name),
        version_of=lambda response: int(response.model.version),
    )
    servicer = VisionService(host.engine, host.settings.stream_window, host.settings.max_message_bytes)
    service = GrpcService(
        vision_pb2.DESCRIPTOR.services_by_name["VisionService"],
        servicer,
        methods={
            "Classify": image,
            "Detect": image,
            "Segment": image,
            "Caption": image,
            "GetModelInfo": GrpcMethod(model_of=image.model_of, version_of=image.version_of),
        },
    )
    return Endpoints(grpc=[service], on_drain=servicer.draining)


PROTOCOL = Protocol("vision", open_vision)
