"""Saves the whole state of a training after each epoch, so that it can be resumed."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from cvserve.errors import ArtifactError
from cvserve.training.step import TrainStep


class Checkpoints:
    """Saves and restores weights, optimiser, running means and the epoch number. The last two saves are kept.

    tf.train.CheckpointManager writes the index of saves last, so that an incomplete save is never restored.
    """

    def __init__(self, directory: Path, step: TrainStep) -> None:
        self._epochs_done = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._state = tf.train.Checkpoint(
            weights=[variable.value for variable in step.network.variables],
            optimizer=[variable.value for variable in step.optimizer.variables],
            averages=step.averages,
            epochs_done=self._epochs_done,
        )
        self._manager = tf.train.CheckpointManager(self._state, str(directory), max_to_keep=2)

    def save(self, epochs_done: int) -> None:
        """Saves the state after this many epochs."""
        self._epochs_done.assign(epochs_done)
        self._manager.save(checkpoint_number=epochs_done)

    def restore(self) -> int:
        """Restores the newest save, and returns after how many epochs it was made; 0 if there is none.

        Raises:
            ArtifactError: the save is of another network, or damaged.
        """
        if self._manager.latest_checkpoint is None:
            return 0
        try:
            self._state.restore(self._manager.latest_checkpoint).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise ArtifactError(
                f"the checkpoint {self._manager.latest_checkpoint} cannot be restored: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error
        return int(self._epochs_done.numpy())
