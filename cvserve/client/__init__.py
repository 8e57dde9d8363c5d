"""Sends requests to a cvserve server: `Client` blocks, `AsyncClient` is for asyncio.

Needs grpcio, protobuf and numpy, but not TensorFlow. OpenCV is imported when an image is given as an array, and when a
class map is decoded.
"""

from cvserve.client.asynchronous import AsyncClient
from cvserve.client.channel import Tls
from cvserve.client.client import Client
from cvserve.client.health import Health
from cvserve.client.messages import FrameAnswer, Image, ModelInfo

__all__ = ["AsyncClient", "Client", "FrameAnswer", "Health", "Image", "ModelInfo", "Tls"]
