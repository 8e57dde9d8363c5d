"""Trains every segmentation network for the same number of minutes with the same recipe, and prints a table.

python benchmarks/segmentation_budget.py --data ../shared/data/camvid --out runs/budget [--models unet fcn8s]

The recipe is examples/camvid/budget.yaml; the networks are light forms of the published ones. The best epoch is chosen
on the validation split; the test split is scored once, at the end, in the size of the original masks, without a mean
over views. Scores of such a short training show which network learns fast, not which is best in the end. Results are in
OUT/segmentation_budget.json, model by model; a model that is there already is not trained again without --again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

from cvserve.console import say, table
from cvserve.evaluation import evaluate
from cvserve.runs import write_json
from cvserve.training.config import TrainConfig

CONFIG = Path(__file__).resolve().parents[1] / "examples" / "camvid" / "budget.yaml"
RESNET = {"backbone": "resnet18", "backbone_options": {"width": 32, "stem": "deep", "shortcut": "pooled"}}
VGG = {"backbone": "vgg16", "backbone_options": {"width": 24}}
MODELS: dict[str, dict[str, Any]] = {
    "unet": RESNET,
    "deeplabv3plus": RESNET,
    "deeplabv3": {**RESNET, "output_stride": 8},
    "fcn8s": VGG,
    "fcn16s": VGG,
    "fcn32s": VGG,
    "dilated": RESNET,
    "segnet": {"width": 16},
    "deconvnet": {"width": 16},
}


def trained(name: str, data: Path, minutes: float, out: Path) -> dict[str, Any]:
    """Trains one model and says how far it came."""
    import keras

    from cvserve.training.trainer import Trainer

    shutil.rmtree(out, ignore_errors=True)
    keras.backend.clear_session()
    overrides = {"data": str(data), "model": name, "model_options": MODELS.get(name, {}), "minutes": minutes}
    begun, processor = time.perf_counter(), time.process_time()
    trainer = Trainer(TrainConfig.load(CONFIG, overrides), out)
    run = trainer.run()
    seconds, processor_seconds = time.perf_counter() - begun, time.process_time() - processor
    report = evaluate(out, split="test", out=out / "test").to_dict()
    return {
        "test_miou": round(report["miou"], 4),
        "test_pixel_accuracy": round(report["pixel_accuracy"], 4),
        "val_miou": round(float(run.metrics["miou"]), 4),
        "minutes": minutes,
        "epochs": trainer.epochs_done,
        "kept": int(run.metrics["epoch"]),
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor_seconds, 1),
        "parameters": trainer.kept.count_params(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of camvid, or another with masks")
    parser.add_argument("--out", type=Path, default=Path("runs/budget"), help="where runs and results are kept")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, each")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="names of networks; all if not said")
    parser.add_argument("--again", action="store_true", help="train what has a result already, too")
    asked = parser.parse_args()

    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "segmentation_budget.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    for name in asked.models:
        if name in results and results[name].get("minutes", asked.minutes) == asked.minutes and not asked.again:
            say(f"{name}: has a result already")
            continue
        results[name] = trained(name, asked.data, asked.minutes, asked.out / name)
        write_json(file, results)
        say(f"{name}: {results[name]}")
    columns = ("test_miou", "test_pixel_accuracy", "val_miou", "epochs", "kept", "seconds", "parameters")
    rows = sorted(results.items(), key=lambda item: -item[1]["test_miou"])
    table([(name, *(row[key] for key in columns)) for name, row in rows], ("model", *columns))


if __name__ == "__main__":
    main()
