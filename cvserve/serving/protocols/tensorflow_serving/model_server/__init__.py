"""The command line and the config files of tensorflow_model_server, as settings of our server."""

from __future__ import annotations
