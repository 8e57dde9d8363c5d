"""The server: `serve(...)` blocks until a signal stops it, `Server` runs on an event loop.

Importing this package imports neither gRPC nor TensorFlow: both names are loaded at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvserve.serving.process import serve
    from cvserve.serving.server import Server
    from cvserve.serving.settings import ServerSettings, load_settings

__all__ = ["Server", "ServerSettings", "load_settings", "serve"]


def __getattr__(name: str) -> Any:
    if name == "Server":
        from cvserve.serving.server import Server

        return Server
    if name in ("ServerSettings", "load_settings"):
        from cvserve.serving import settings as config

        return getattr(config, name)
    if name == "serve":
        from cvserve.serving.process import serve

        return serve
    raise AttributeError(f"module 'cvserve.serving' has no attribute {name!r}")
