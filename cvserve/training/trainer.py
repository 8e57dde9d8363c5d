"""Runs the training loop: trains epochs with one static graph, validates after each, and keeps the best network."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvserve import __version__
from cvserve.console import Progress, say
from cvserve.data import same_data
from cvserve.errors import CvserveError, InvalidInput
from cvserve.runs import (
    CONFIG_FILE,
    METRICS_FILE,
    MODEL_FILE,
    RUN_FILE,
    Run,
    RunDescription,
    load_run,
    write_json,
    write_text,
)
from cvserve.training.checkpoints import Checkpoints
from cvserve.training.config import TrainConfig
from cvserve.training.history import History
from cvserve.training.schedule import epochs_within, learning_rate, usual
from cvserve.training.step import TrainStep, make_optimizer, specs_of
from cvserve.training.tasks import TASKS

# Settings that change how fast a training is, but not its result.
_NO_INFLUENCE = ("workers", "cache_gib")
_POLICY = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def train(config: TrainConfig, out: str | Path, *, resume: bool = False) -> Run:
    """Trains a network and writes a run directory.

    Args:
        config: the settings.
        out: the run directory; must not hold a run already, unless `resume`.
        resume: continues after the last finished epoch of the run in `out`. The result is that of a training that was
            not interrupted, unless `minutes` decides how many epochs there are. Without a run in `out`, a new one
            begins.

    Returns:
        The finished run, with the best network's scores.

    Raises:
        InvalidInput: settings or data that cannot be used, or settings that differ from those of the resumed run.
        CvserveError: the loss is not a number any more.

    Example:
        run = train(TrainConfig(data="photos", model="resnet18"), "runs/flowers")
        print(run.metrics["top1"])
    """
    return Trainer(config, Path(out), resume=resume).run()


class Trainer:
    """Runs one training. `task`, `step`, `history` and `epochs_done` show how far it is."""

    def __init__(self, config: TrainConfig, out: Path, *, resume: bool = False) -> None:
        task = TASKS[config.task]
        begun = time.perf_counter()
        self.config, self.out = config, out
        _check_directory(config, out, resume)
        keras.utils.set_random_seed(config.seed)
        self.task = task(config)

        policy = keras.config.dtype_policy()
        try:
            keras.config.set_dtype_policy(_POLICY[config.precision])
            trained = self.task.build()
            keras.config.set_dtype_policy("float32")
            self.kept = self.task.build().network
        finally:
            keras.config.set_dtype_policy(policy)
        self._graph = tf.function(lambda images: self.kept(images, training=False), reduce_retracing=True)
        self.step = TrainStep(
            trained,
            make_optimizer(config.optimizer, trained.network),
            average_decay=config.average_decay,
            specs=specs_of(self.task.training.epoch(0)),
        )
        out.mkdir(parents=True, exist_ok=True)
        self._checkpoints = Checkpoints(out / "checkpoints", self.step)
        self.epochs_done = self._checkpoints.restore() if resume else 0
        self.history = History(out, keep_epochs=self.epochs_done)
        self._begun = begun - self.history.seconds
        self._describe()

    @property
    def steps_per_epoch(self) -> int:
        """Returns the number of batches in an epoch."""
        return self.task.training.steps

    @property
    def epochs(self) -> int:
        """Returns the number of epochs of the whole training, as far as it is known yet."""
        history = self.history
        return epochs_within(self.config.minutes, self.config.epochs, history.seconds, history.seconds_of_epochs)

    def run(self) -> Run:
        """Trains the remaining epochs, and returns the finished run."""
        if self.epochs_done:
            say(f"resuming {self.out} after epoch {self.epochs_done} of {self.epochs}")
        while self.epochs_done < self.epochs and not self._has_stalled():
            epoch, epochs = self.epochs_done, self.epochs
            begun = time.perf_counter()
            self.task.training.plan(epochs)
            row = {"epoch": epoch + 1, **self._train_epoch(epoch, epochs)}
            self._take_averages()
            row.update({f"val_{name}": value for name, value in self.task.validate(self._predict).items()})
            is_best = self.history.is_best(row[f"val_{self.task.monitor}"], f"val_{self.task.monitor}")
            if is_best:
                self._keep(row)
            now = time.perf_counter()
            row |= {"epoch_seconds": round(now - begun, 3), "seconds": round(now - self._begun, 3)}
            self.history.add(row)
            self._checkpoints.save(epoch + 1)
            self.epochs_done = epoch + 1
            say(_line(row, epochs, is_best) + self._left())
        if self._has_stalled() and self.epochs_done < self.epochs:
            patience = self.config.patience
            say(f"stopped after epoch {self.epochs_done}: no better {self.task.monitor} in {patience} epochs")
        elif self.epochs_done < self.config.epochs:
            say(f"stopped after epoch {self.epochs_done}: no other fits into {self.config.minutes:g} minutes")
        self.history.draw()
        return load_run(self.out)

    def _train_epoch(self, epoch: int, epochs: int) -> dict[str, float]:
        config, losses = self.config, []
        schedule = config.schedule
        if config.minutes is not None:
            # Otherwise a training of few epochs would only warm up.
            schedule = schedule.model_copy(update={"warmup_epochs": min(schedule.warmup_epochs, epochs / 4)})
        rate = 0.0
        with Progress(
            len(self.task.training.order(epoch)), description=f"epoch {epoch + 1}/{epochs}", unit="images"
        ) as progress:
            for index, (images, targets) in enumerate(self.task.training.batches(epoch)):
                rate = learning_rate(
                    schedule,
                    config.optimizer.learning_rate,
                    epoch * self.steps_per_epoch + index,
                    steps_per_epoch=self.steps_per_epoch,
                    epochs=epochs,
                )
                loss = float(self.step.run(images, targets, tf.constant(rate, tf.float32)))
                if not math.isfinite(loss):
                    raise CvserveError(
                        f"the loss became {loss} in epoch {epoch + 1}, step {index + 1}: lower "
                        f"optimizer.learning_rate (now {config.optimizer.learning_rate:g}) or set optimizer.clip_norm"
                    )
                losses.append(loss)
                progress.advance(len(images), loss=f"{np.mean(losses[-20:]):.3f}")
        return {"loss": float(np.mean(losses)), "learning_rate": rate}

    def _predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values.numpy() for name, values in self._graph(tf.constant(images)).items()}

    def _left(self) -> str:
        epochs = self.epochs - self.epochs_done
        if epochs <= 0 or self._has_stalled():
            return ""
        return f", about {_duration(epochs * usual(self.history.seconds_of_epochs))} left"

    def _take_averages(self) -> None:
        """Copies the running means (or, without averaging, the weights) into the kept network."""
        for kept, average in zip(self.kept.variables, self.step.averages, strict=True):
            kept.assign(average)

    def _keep(self, row: dict[str, Any]) -> None:
        # Keras chooses the format by the suffix, which must be .keras.
        temporary = self.out / f".part.{MODEL_FILE}"
        self.kept.save(temporary)
        temporary.replace(self.out / MODEL_FILE)
        write_json(
            self.out / METRICS_FILE,
            {
                "split": "val",
                "epoch": row["epoch"],
                **{name.removeprefix("val_"): value for name, value in row.items() if name.startswith("val_")},
            },
        )

    def _has_stalled(self) -> bool:
        if self.config.patience is None:
            return False
        return self.history.epochs_since_best(f"val_{self.task.monitor}") >= self.config.patience

    def _describe(self) -> None:
        config = self.config
        description = RunDescription(
            task=config.task,
            architecture=config.model,
            model_options=config.model_options,
            labels=self.task.labels,
            preproc=self.task.preproc,
            postproc=self.task.postproc,
            data=config.data,
            dataset=self.task.dataset,
            cvserve_version=__version__,
        )
        write_text(self.out / CONFIG_FILE, config.dump())
        write_text(self.out / RUN_FILE, description.model_dump_json(indent=2) + "\n")


def _check_directory(config: TrainConfig, out: Path, resume: bool) -> None:
    stored = out / CONFIG_FILE
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"{out} is a file; give a directory for the run")
    if not stored.is_file():
        return
    if not resume:
        raise InvalidInput(f"{out} already holds a run; add --resume to go on with it, or give another --out")
    before = TrainConfig.load(stored).model_dump(mode="json")
    now = config.model_dump(mode="json")
    for key in _NO_INFLUENCE:
        del before[key], now[key]
    if same_data(before["data"], now["data"]):
        before["data"] = now["data"]
    for key, value in now.items():
        if before[key] != value:
            raise InvalidInput(
                f"{out} was trained with {key} = {before[key]!r}, not {value!r}; resume with the same settings"
            )


def _line(row: dict[str, Any], epochs: int, is_best: bool) -> str:
    scores = ", ".join(f"{name} {value:.4f}" for name, value in row.items() if name.startswith("val_"))
    return f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.4f}, {scores}{' (best)' if is_best else ''}"


def _duration(seconds: float) -> str:
    """Returns the duration in hours, minutes or seconds, whichever suits it."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
