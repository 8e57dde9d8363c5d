"""Checks that every captioning network can overfit 32 photos: a BLEU-4 of at least 0.9 on the training images.

python benchmarks/overfit_captioning.py --data ../shared/data/coco_captions --out runs/overfit_captions

A network that fails has a fault in words, loss or layers. All networks get the same images: 32 of the training split,
evenly spread. OUT/images holds them as a data set, the same for train and val. The ordinary training runs on it:
examples/captioning/coco_overfit.yaml, each image with its first caption, until the score does not rise any more. Scores
are against all captions of an image, as COCO does. Results are written to OUT/overfit_captioning.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

from cvserve.console import say, table
from cvserve.data import open_dataset
from cvserve.data.source import CaptionSource
from cvserve.evaluation import evaluate
from cvserve.evaluation.coco_format import coco_caption_ground_truth
from cvserve.runs import write_json
from cvserve.training.config import TrainConfig

IMAGES = 32
CONFIG = Path(__file__).resolve().parents[1] / "examples" / "captioning" / "coco_overfit.yaml"
# No dropout, which is there to keep networks from this.
MODELS: dict[str, dict[str, Any]] = {
    "show_and_tell": {"pooling": "flatten", "image": "always", "dropout": 0.0},
    "show_attend_tell": {"dropout": 0.0},
    "transformer": {"dropout": 0.0},
}


def choose(count: int, wanted: int = IMAGES) -> list[int]:
    """Chooses images in equal steps, beginning with the first."""
    return [index * count // wanted for index in range(wanted)]


def write_images(source: CaptionSource, out: Path) -> Path:
    """Writes the chosen images as a folder in COCO's layout, the same for train and val."""
    indices = choose(len(source))
    paths = [Path(str(source.image(index))) for index in indices]
    ground_truth = coco_caption_ground_truth(
        [source.captions(index) for index in indices],
        [source.image_id(index) for index in indices],
        [path.name for path in paths],
    )
    shutil.rmtree(out, ignore_errors=True)
    (out / "images").mkdir(parents=True)
    for path in paths:
        shutil.copyfile(path, out / "images" / path.name)
    for split in ("train", "val"):
        (out / f"captions_{split}.json").write_text(json.dumps(ground_truth, ensure_ascii=False), encoding="utf-8")
    return out


def overfit(name: str, data: Path, out: Path) -> dict[str, Any]:
    """Trains one model and returns its scores and times."""
    from cvserve.training.trainer import Trainer

    shutil.rmtree(out, ignore_errors=True)
    begun, processor = time.perf_counter(), time.process_time()
    base = TrainConfig.load(CONFIG, {"data": str(data), "model": name})
    options = {**base.model_options, **MODELS.get(name, {})}
    config = TrainConfig.load(CONFIG, {"data": str(data), "model": name, "model_options": options})
    run = Trainer(config, out).run()
    report = evaluate(out, out=out / "scores").to_dict()
    return {
        **{key: round(report[key], 4) for key in ("bleu4", "cider_d", "exact")},
        "epochs": len(json.loads((out / "history.json").read_text())),
        "best": int(run.metrics["epoch"]),
        "seconds": round(time.perf_counter() - begun, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder of images with captions")
    parser.add_argument("--out", type=Path, default=Path("runs/overfit_captions"), help="where results are kept")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="names of networks; all if not said")
    asked = parser.parse_args()

    source = open_dataset(asked.data, "train", task="captioning")
    data = write_images(source, asked.out / "images")
    say(f"{IMAGES} images of {source.describe()}")
    file = asked.out / "overfit_captioning.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    for name in asked.models:
        results[name] = overfit(name, data, asked.out / name)
        write_json(file, results)
    columns = ("bleu4", "cider_d", "exact", "epochs", "best", "seconds", "processor_seconds")
    table([(name, *(row[key] for key in columns)) for name, row in sorted(results.items())], ("model", *columns))


if __name__ == "__main__":
    main()
