"""Asks a cvserve server: `Client` blocks, `AsyncClient` is awaited.

Needs grpcio, protobuf and numpy; never TensorFlow. OpenCV is imported when a picture is given as an array.
"""

from cvserve.client.asynchronous import AsyncClient
from cvserve.client.client import Client
from cvserve.client.messages import Image, ModelInfo

__all__ = ["AsyncClient", "Client", "Image", "ModelInfo"]
