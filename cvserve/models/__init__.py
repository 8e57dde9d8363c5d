"""Keras networks, by task and name. `list_models()` tells the names, `create_model` builds one."""

from cvserve.models.registry import ModelEntry, create_model, default_preproc, find, list_models

__all__ = ["ModelEntry", "create_model", "default_preproc", "find", "list_models"]
