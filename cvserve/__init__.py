"""cvserve: production vision with Keras, from training to server and phone, with the same answer everywhere.

    import cvserve
    pipeline = cvserve.load("models/flowers")
    client = cvserve.Client("localhost:8500")

Importing the package imports neither TensorFlow nor onnxruntime: the names below are loaded at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cvserve.client import AsyncClient, Client
    from cvserve.pipeline import Pipeline

__all__ = ["AsyncClient", "Client", "Pipeline", "__version__", "load"]


def load(path: Any, **options: Any) -> Pipeline:
    """Opens an artifact as a Pipeline; see `cvserve.pipeline.Pipeline.load` for the options."""
    from cvserve.pipeline import Pipeline

    return Pipeline.load(path, **options)


def __getattr__(name: str) -> Any:
    if name in ("Client", "AsyncClient"):
        from cvserve import client

        return getattr(client, name)
    if name == "Pipeline":
        from cvserve.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module 'cvserve' has no attribute {name!r}")
