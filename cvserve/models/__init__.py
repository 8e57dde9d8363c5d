"""Builds Keras networks by task and name. `list_models` lists them, `create_model` builds one."""

from cvserve.models.catalogue import (
    build_model,
    create_model,
    default_preproc,
    find,
    list_entries,
    list_models,
    load_networks,
)
from cvserve.models.registry import Built, ModelEntry, Paper, register

__all__ = [
    "Built",
    "ModelEntry",
    "Paper",
    "build_model",
    "create_model",
    "default_preproc",
    "find",
    "list_entries",
    "list_models",
    "load_networks",
    "register",
]
