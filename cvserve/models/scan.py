"""Imports all modules of a package, so that what they register is known."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache


@cache
def import_modules(package: str) -> None:
    """Imports each module of a package once.

    Args:
        package: its full name, such as "cvserve.models.detection". A package that does not exist is left out.
    """
    try:
        found = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        return
    for module in pkgutil.iter_modules(found.__path__):
        importlib.import_module(f"{package}.{module.name}")
