"""Measures the time from raw detection outputs to boxes: 100 images with many candidates, on one core.

python benchmarks/postprocessing.py [--out postprocessing.json]

Each image has 1000 boxes over the score threshold. "objects": 40 of them, each found by 25 boxes around it, as
networks do; "scattered": 1000 boxes anywhere, of which hardly one is suppressed; "one class": the same, all of one
class, the slowest case of suppression.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cvserve import console
from cvserve.artifact import BoxCoding, BoxLevel, DetectionPostproc
from cvserve.postproc.boxes import anchors, cells
from cvserve.postproc.decoders.detection import decode_detection_arrays

IMAGES = 100
CANDIDATES = 1000
OBJECTS = 40
CLASSES = 80
LIMIT_MS = 3.0


@dataclass(frozen=True)
class Head:
    """A network's outputs, as far as decoding knows them."""

    name: str
    spec: DetectionPostproc
    size: int


def yolo_like() -> Head:
    """8400 boxes x 80 classes for 640 x 640 pixels, sigmoid."""
    levels = tuple(BoxLevel(rows=640 // stride, columns=640 // stride) for stride in (8, 16, 32))
    return Head(
        "8400 x 80, sigmoid",
        DetectionPostproc(activation="sigmoid", boxes=BoxCoding(kind="distances", levels=levels)),
        640,
    )


def ssd_like() -> Head:
    """8732 boxes x 81 classes for 300 x 300 pixels, softmax: the grids of SSD300 (arXiv 1512.02325)."""
    levels = []
    for side, least, most, count in (
        (38, 30, 60, 4),
        (19, 60, 111, 6),
        (10, 111, 162, 6),
        (5, 162, 213, 6),
        (3, 213, 264, 4),
        (1, 264, 315, 4),
    ):
        ratios = (2.0, 0.5) if count == 4 else (2.0, 0.5, 3.0, 1 / 3)
        shapes = [(least, least), ((least * most) ** 0.5,) * 2] + [(least * r**0.5, least / r**0.5) for r in ratios]
        levels.append(BoxLevel(rows=side, columns=side, anchors=tuple(shapes)))
    coding = BoxCoding(kind="deltas", levels=tuple(levels), variances=(0.1, 0.1, 0.2, 0.2))
    return Head("8732 x 81, softmax", DetectionPostproc(activation="softmax", boxes=coding), 300)


def image(head: Head, layout: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Outputs by role [1, A, ...] with `CANDIDATES` (box, class) pairs over the threshold."""
    coding = head.spec.boxes
    assert coding is not None
    count = coding.boxes or 0
    softmax = head.spec.activation == "softmax"
    if coding.kind == "deltas":
        reference = anchors(coding, head.size, head.size)
        centers = (reference[:, :2] + reference[:, 2:]) / 2
    else:
        centers, sizes = cells(coding, head.size, head.size)
    if layout == "objects":
        middle = rng.uniform(0.1, 0.9, (OBJECTS, 2)) * head.size
        half = rng.uniform(0.04, 0.25, (OBJECTS, 2)) * head.size
        classes = rng.integers(0, CLASSES, OBJECTS)
        rows, owner = [], []
        taken = np.zeros(count, bool)
        for index in range(OBJECTS):
            distance = np.abs(centers - middle[index]).max(axis=1) + 1e9 * taken
            near = np.argsort(distance)[: CANDIDATES // OBJECTS]
            taken[near] = True
            rows.append(near)
            owner += [index] * len(near)
        chosen, owners = np.concatenate(rows), np.array(owner)
        labels = classes[owners]
        noise = rng.normal(0, 0.06, (CANDIDATES, 4)) * np.tile(half[owners], 2)
        boxes = np.concatenate([middle[owners] - half[owners], middle[owners] + half[owners]], axis=1) + noise
    else:
        chosen = rng.choice(count, CANDIDATES, replace=False)
        labels = rng.integers(0, CLASSES, CANDIDATES) if layout == "scattered" else np.zeros(CANDIDATES, int)
        half = rng.uniform(0.01, 0.06, (CANDIDATES, 2)) * head.size
        boxes = np.concatenate([centers[chosen] - half, centers[chosen] + half], axis=1)
    logits = rng.normal(-8, 1, (count, CLASSES + softmax)).astype(np.float32)
    if softmax:
        logits[:, 0] = 4
        logits[chosen, 0] = 0
        logits[chosen, labels + 1] = rng.uniform(0, 5, CANDIDATES)
    else:
        logits[chosen, labels] = rng.uniform(-1, 4, CANDIDATES)
    offsets = rng.normal(1, 0.3, (count, 4)).astype(np.float32)
    if coding.kind == "deltas":
        own = reference[chosen]
        size = own[:, 2:] - own[:, :2]
        shift = ((boxes[:, :2] + boxes[:, 2:]) / 2 - centers[chosen]) / size
        stretch = np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], 1) / size)
        offsets[chosen] = np.concatenate([shift, stretch], axis=1) / np.array(coding.variances)
    else:
        sides = np.concatenate([centers[chosen] - boxes[:, :2], boxes[:, 2:] - centers[chosen]], axis=1)
        offsets[chosen] = sides / np.tile(sizes[chosen], 2)
    return {"box_offsets": offsets[None], "class_logits": logits[None]}


def measure(head: Head, layout: str) -> dict[str, float | str]:
    """Milliseconds an image of decoding, suppression included."""
    rng = np.random.default_rng(7)
    times, kept = [], []
    decode_detection_arrays(image(head, layout, rng), head.spec, head.size, head.size)
    for _ in range(IMAGES):
        outputs = image(head, layout, rng)
        start = time.perf_counter()
        [(boxes, *_)] = decode_detection_arrays(outputs, head.spec, head.size, head.size)
        times.append((time.perf_counter() - start) * 1e3)
        kept.append(len(boxes))
    return {
        "head": head.name,
        "layout": layout,
        "images": IMAGES,
        "candidates": CANDIDATES,
        "results": float(np.mean(kept)),
        "p50_ms": float(np.percentile(times, 50)),
        "p95_ms": float(np.percentile(times, 95)),
        "mean_ms": float(np.mean(times)),
        "limit_ms": LIMIT_MS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON; default: print them")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rows = [
        measure(head, layout) for head in (yolo_like(), ssd_like()) for layout in ("objects", "scattered", "one class")
    ]
    console.table(
        [(row["head"], row["layout"], row["results"], row["p50_ms"], row["p95_ms"]) for row in rows],
        ("outputs", "images", "results", "p50 ms", "p95 ms"),
    )
    text = json.dumps(rows, indent=2)
    if arguments.out is None:
        console.say(text)
    else:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
