"""Records each epoch in history.json and TensorBoard logs, and draws the curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from cvserve.runs import HISTORY_FILE, write_json


class History:
    """Keeps one row of numbers for each epoch of a run.

    Args:
        directory: of the run.
        keep_epochs: how many epochs of an earlier, interrupted training are kept; later rows are dropped.
    """

    def __init__(self, directory: Path, *, keep_epochs: int = 0) -> None:
        self._directory = directory
        self.rows: list[dict[str, Any]] = []
        file = directory / HISTORY_FILE
        if keep_epochs and file.is_file():
            rows = json.loads(file.read_text(encoding="utf-8"))
            self.rows = [row for row in rows if row["epoch"] <= keep_epochs]
        self._logs = tf.summary.create_file_writer(str(directory / "logs"))

    def add(self, row: dict[str, Any]) -> None:
        """Adds the row of a finished epoch, and writes the files."""
        self.rows.append(row)
        write_json(self._directory / HISTORY_FILE, self.rows)
        with self._logs.as_default(step=row["epoch"]):
            for name, value in row.items():
                if name != "epoch":
                    tf.summary.scalar(f"validation/{name[4:]}" if name.startswith("val_") else f"train/{name}", value)
        self._logs.flush()

    @property
    def seconds(self) -> float:
        """Returns the duration of the training in seconds up to the end of the last epoch, without interruptions."""
        return float(self.rows[-1].get("seconds", 0.0)) if self.rows else 0.0

    @property
    def seconds_of_epochs(self) -> list[float]:
        """Returns the seconds of each epoch with its validation; old files have none for some epochs."""
        return [row["epoch_seconds"] for row in self.rows if "epoch_seconds" in row]

    def is_best(self, value: float, column: str) -> bool:
        """Returns whether `value` is higher than that of every earlier row."""
        return all(value > row[column] for row in self.rows)

    def epochs_since_best(self, column: str) -> int:
        """Returns how many epochs have ended since the one with the highest value; 0 before the first."""
        if not self.rows:
            return 0
        values = [row[column] for row in self.rows]
        return len(values) - 1 - values.index(max(values))

    def draw(self) -> None:
        """Draws curves.png, with losses on the left and scores on the right."""
        if not self.rows:
            return
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        epochs = [row["epoch"] for row in self.rows]
        for name in self.rows[0]:
            if name in ("epoch", "learning_rate", "epoch_seconds", "seconds"):
                continue
            axes = left if name.endswith("loss") else right
            axes.plot(epochs, [row[name] for row in self.rows], label=name.replace("val_", "validation "), marker=".")
        for axes, title in ((left, "loss"), (right, "score")):
            axes.set(title=title, xlabel="epoch")
            axes.grid(alpha=0.3)
            axes.legend()
        figure.savefig(self._directory / "curves.png", dpi=110)
