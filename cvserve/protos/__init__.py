"""The messages of cvserve.v1, shared by the client and the server.

`model_server.proto` beside them is for `cvserve model-server` alone: text files of tensorflow_model_server.

`tensorflow_serving.py` has TensorFlow Serving's messages, from descriptors that tools/collect_protos.py collects.

`vision_pb2.py`, `vision_pb2.pyi` and `vision_pb2_grpc.py` are generated from `vision.proto`, and committed. After a
change of the .proto, from the root of the repository (this is `make protos`):

    python -m pip install grpcio-tools==1.80.0
    python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. cvserve/protos/vision.proto

Generated code runs with the versions of protobuf and grpcio that made it and with later ones, never with earlier
ones, so grpcio-tools is held at the oldest version that setup.cfg allows: 1.80.0 writes code for protobuf 6.31.1
and grpcio 1.80.0. Since the compiler is given the path from the root, the imports are the package's own.
"""

from __future__ import annotations

from cvserve.protos import vision_pb2, vision_pb2_grpc

__all__ = ["vision_pb2", "vision_pb2_grpc"]
