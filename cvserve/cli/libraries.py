"""TensorFlow without what it says of itself at every start."""

from __future__ import annotations


def load_tensorflow() -> None:
    """Imports TensorFlow and lets it look for its devices, dropping the known remarks that both make.

    A command that will need TensorFlow calls this first. Later imports find it loaded, and are silent.

    Raises:
        MissingExtra: TensorFlow is not installed.
    """
    from cvserve.runtimes.quiet import without_chatter
    from cvserve.runtimes.tensorflow import import_tensorflow

    tensorflow = import_tensorflow()
    with without_chatter():
        tensorflow.config.list_physical_devices()
