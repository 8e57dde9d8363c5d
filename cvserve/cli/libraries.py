"""Loads TensorFlow without its messages."""

from __future__ import annotations


def load_tensorflow() -> None:
    """Imports TensorFlow and lists its devices, without the messages that both print.

    A command that needs TensorFlow calls this first; later imports print nothing.

    Raises:
        MissingExtra: TensorFlow is not installed.
    """
    from cvserve.runtimes.quiet import without_startup_messages
    from cvserve.runtimes.tensorflow import import_tensorflow

    tensorflow = import_tensorflow()
    with without_startup_messages():
        tensorflow.config.list_physical_devices()
