"""Makes the files in this folder. Runs only with the code of the commit that the README names.

git worktree add /tmp/before bdd4e90
PYTHONPATH=/tmp/before:/tmp/before/tests python tests/compatibility/make.py tests/compatibility
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from tiny_instances import publish_instances

import cvserve
from cvserve.artifact import Decoding
from cvserve.export import ImportSpec, export_run
from cvserve.export.import_spec import read_spec
from cvserve.preproc import preprocess
from cvserve.serving import load_settings
from cvserve.training import TrainConfig, train

IMAGES = ("0.png", "1.png")

SCENES = "count=4&val_count=2&image_size=32"
COMMON = {"epochs": 1, "batch_size": 4, "schedule": {"warmup_epochs": 0}, "image_size": 32}
BACKBONE = {"backbone_options": {"width": 2}}
TRAININGS: dict[str, dict[str, Any]] = {
    "classification": {"data": f"scenes?{SCENES}", "model": "resnet20", "model_options": {"width": 2}, "image_size": 8},
    "detection": {
        "data": f"scenes:detection?{SCENES}",
        "model": "retinanet",
        "model_options": {**BACKBONE, "channels": 4, "depth": 1, "levels": [3, 5]},
    },
    "segmentation": {
        "data": f"scenes:segmentation?{SCENES}",
        "model": "unet",
        "model_options": {**BACKBONE, "width": 4},
    },
    "captioning": {
        "data": f"scenes:captioning?{SCENES}",
        "model": "show_and_tell",
        "model_options": {**BACKBONE, "stride": 4, "channels": 4, "units": 4, "embedding": 4, "cell": "rnn"},
        "captioning": {"vocabulary": {"min_count": 1}},
    },
}


def write_images(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(IMAGES):
        image = np.full((40, 48, 3), (60 + 90 * number, 120, 200 - 90 * number), np.uint8)
        cv2.circle(image, (16 + 14 * number, 20), 11, (30, 40 + 120 * number, 220), -1)
        cv2.rectangle(image, (30 - 24 * number, 6), (44 - 24 * number, 18), (230, 220, 40), -1)
        cv2.imwrite(str(folder / name), image)


def make_run(task: str, to: Path) -> None:
    """A run directory of one epoch, and what its network answers."""
    config = TrainConfig.load(None, {"task": task, **COMMON, **TRAININGS[task]})
    run = train(config, to / "runs" / task)
    network = run.load_model()
    # Few different numbers, which compress to little.
    network.set_weights([np.round(weight * 32) / 32 if weight.ndim > 1 else weight for weight in network.get_weights()])
    network.save(run.directory / "model.keras")
    pixels = np.stack([preprocess(to / "images" / name, run.preproc)[0] for name in IMAGES])
    outputs = network(pixels, training=False)
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    np.savez_compressed(to / "runs" / f"{task}.npz", **arrays)
    print(task, {name: (array.shape, str(array.dtype)) for name, array in arrays.items()})


def make_artifact(task: str, to: Path) -> None:
    """The run's artifact."""
    decoding = Decoding(method="beam", beam_width=2, sentences=2) if task == "captioning" else None
    export_run(
        to / "runs" / task,
        to / "artifacts" / task,
        formats=("onnx", "tflite") if task == "classification" else ("onnx",),
        pictures=2,
        licence="CC0",
        notes="made for a test",
        decoding=decoding,
    )


def record_answers(to: Path) -> None:
    answers = {}
    for folder in sorted((to / "artifacts").iterdir()):
        with cvserve.load(folder, runtime="onnx") as pipeline:
            found = pipeline([to / "images" / name for name in IMAGES], score_threshold=0.0, max_results=3)
            answers[folder.name] = [result.to_dict() for result in found]
    (to / "artifacts.json").write_text(json.dumps(answers, indent=1) + "\n")


def record_settings(to: Path) -> None:
    """Next to each settings file the values that it was read as."""
    folder = to / "settings"
    recorded = {"server.yaml": load_settings(folder / "server.yaml").model_dump(mode="json")}
    for file in sorted(folder.glob("train_*.yaml")):
        recorded[file.name] = TrainConfig.load(file).model_dump(mode="json")
    spec: ImportSpec = read_spec(folder / "import.yaml")[0]
    recorded["import.yaml"] = spec.model_dump(mode="json")
    (to / "settings.json").write_text(json.dumps(recorded, indent=1) + "\n")


def write_train_settings(to: Path) -> None:
    """Settings of a training a task, with every key."""
    changes: dict[str, dict[str, Any]] = {
        "classification": {"model": "resnet20", "schedule": {"name": "step", "milestones": [0.4, 0.9]}, "patience": 5},
        "detection": {"augmentation": {"mosaic": 0.25, "vertical_flip": True}, "minutes": 90},
        "segmentation": {
            "image_size": [128, 256],
            "segmentation": {"losses": {"dice": 0.5, "focal": 1}, "class_weights": [1, 2, 0.5], "focal_gamma": 1.5},
        },
        "captioning": {
            "captioning": {
                "vocabulary": {"kind": "subwords", "min_count": 2, "size": 500, "length": 20},
                "captions": "all",
                "monitor": "bleu4",
                "attention_penalty": 0.1,
                "freeze_epochs": 2,
                "backbone_rate": 0.1,
            }
        },
    }
    for task, change in changes.items():
        values = {
            "task": task,
            "data": "photos",
            "model_options": {"width": 8},
            "weights": "w.keras",
            "seed": 7,
            **change,
        }
        (to / "settings" / f"train_{task}.yaml").write_text(TrainConfig.load(None, values).dump())


def main() -> None:
    final = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as directory:
        to = Path(directory)
        write_images(to / "images")
        for task in TRAININGS:
            make_run(task, to)
            make_artifact(task, to)
        publish_instances(to / "artifacts" / "instances")
        record_answers(to)
        (to / "settings").mkdir()
        for name in ("server.yaml", "import.yaml"):
            yaml.safe_load((final / "settings" / name).read_text())
            shutil.copy(final / "settings" / name, to / "settings")
        write_train_settings(to)
        record_settings(to)
        for task in TRAININGS:
            for name in ("checkpoints", "logs", "curves.png"):
                path = to / "runs" / task / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for folder in [*(to / "runs").iterdir(), *(to / "artifacts").iterdir()]:
            if folder.is_dir():
                shutil.make_archive(str(folder), "xztar", folder)
                shutil.rmtree(folder)
        shutil.copytree(to, final, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
