"""Exports networks to SavedModel, ONNX and TFLite, and compares each graph with the network that it was made from.

The names below are loaded at first use, so that a help text can read `cvserve.export.targets` without TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvserve.export.exporter import export_model
    from cvserve.export.from_run import export_run
    from cvserve.export.import_spec import ImportSpec
    from cvserve.export.importer import import_model
    from cvserve.export.report import report_rows, report_table
    from cvserve.export.targets import TARGETS, ExportTarget

__all__ = [
    "TARGETS",
    "ExportTarget",
    "ImportSpec",
    "export_model",
    "export_run",
    "import_model",
    "report_rows",
    "report_table",
]

_MODULES = {
    "TARGETS": "targets",
    "ExportTarget": "targets",
    "ImportSpec": "import_spec",
    "export_model": "exporter",
    "export_run": "from_run",
    "import_model": "importer",
    "report_rows": "report",
    "report_table": "report",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"cvserve.export.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'cvserve.export' has no attribute {name!r}")
