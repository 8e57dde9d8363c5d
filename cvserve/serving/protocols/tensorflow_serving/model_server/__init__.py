"""Converts the command line and the config files of tensorflow_model_server to settings of our server."""

from __future__ import annotations
