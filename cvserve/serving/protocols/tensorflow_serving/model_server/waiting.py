"""Waits until there is a version to load, as tensorflow_model_server does before its ports open."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cvserve.errors import CvserveError
from cvserve.serving.core.repository import readable_versions
from cvserve.serving.core.settings import ModelConfig
from cvserve.serving.core.version_policy import aspired


def wait_for_a_version(
    models: Sequence[ModelConfig],
    seconds: float,
    report: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Checks the disk at intervals until one of the models has a version that its policy wants.

    A volume may be mounted, or a model copied, after the server has started. What is missing is reported once.

    Args:
        seconds: the time between two checks. With 0 the disk is checked once, and loading reports the error.
    """
    reported: set[str] = set()
    while models:
        reasons = [_missing(model) for model in models]
        if not seconds or None in reasons:
            return
        for reason in reasons:
            if reason is not None and reason not in reported:
                report(f"waiting: {reason}")
                reported.add(reason)
        sleep(seconds)


def _missing(model: ModelConfig) -> str | None:
    """Returns the reason why the model cannot be served, as far as the directory shows it; None: there is none."""
    try:
        versions = readable_versions(model)
    except CvserveError as error:
        return f"{error}. Did you forget to name your leaf directory as a number (eg. '/1/')?"
    if not aspired(model.policy, versions):
        return f"servable {model.name} has versions {sorted(versions)}, but none of those that its policy wants"
    return None
