"""Manifests of schema 1, whose postproc and parity had the fields of every task, are read as ever."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cvserve.artifact import (
    BoxCoding,
    CaptioningPostproc,
    ClassificationParity,
    ClassificationPostproc,
    DetectionParity,
    DetectionPostproc,
    Manifest,
    Parity,
    PostprocSpec,
    SegmentationParity,
    SegmentationPostproc,
    Vocabulary,
)
from cvserve.artifact.vocabulary import SPECIAL

HASH = "0" * 64
NO_FIGURES = dict.fromkeys(
    (
        *("objects", "unmatched", "unmatched_limit", "box_iou", "box_iou_min", "score_difference", "map_difference"),
        *("mask_iou", "mask_iou_min", "pixel_agreement", "pixel_agreement_limit", "miou", "miou_difference"),
        *("beyond", "beyond_limit", "agreement_limit"),
    )
)
TOKENS = (*SPECIAL, "▁dog")


def manifest(task: str, roles: tuple[str, ...], postproc: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """A manifest as the code before schema 2 wrote it: every field is there."""
    parity = {"images": 9, "max_abs_difference": 1e-6, "agreement": 1.0, "limit": 1e-4, "against": "keras"}
    parity |= NO_FIGURES | figures
    file = {"path": "model.onnx", "bytes": 3, "sha256": HASH}
    return {
        "schema_version": 1,
        "name": "old",
        "version": 1,
        "task": task,
        "labels": [] if task == "captioning" else ["a", "b"],
        "preproc": {"height": 8, "width": 8},
        "outputs": [{"name": role, "role": role} for role in roles],
        "postproc": {
            "top_k": 5,
            "activation": "none",
            "colours": [],
            "vocabulary": None,
            "decoding": None,
            "boxes": None,
            "score_threshold": 0.25,
            "iou_threshold": 0.6,
            "max_candidates": 1000,
            "max_results": 100,
        }
        | postproc,
        "graphs": [
            {
                "format": "onnx",
                "files": [file],
                "parity": parity,
                "encoded": {"parity": parity, "pixels_max_difference": 1.0, "pixels_mean_difference": 0.1},
                "detect": {"file": file, "parity": parity} if task == "detection" else None,
                "steps": {"parity": parity} if task == "captioning" else None,
            }
        ],
    }


def parity_of(cls: type[Parity], **figures: Any) -> Parity:
    return cls.model_validate({"images": 9, "max_abs_difference": 1e-6, "agreement": 1.0, "limit": 1e-4} | figures)


@pytest.mark.parametrize(
    ("old", "postproc", "parity"),
    [
        (
            manifest("classification", ("probabilities",), {"top_k": 3}, {}),
            ClassificationPostproc(top_k=3),
            parity_of(ClassificationParity),
        ),
        (
            manifest(
                "detection",
                ("boxes", "scores", "classes"),
                {"boxes": {"kind": "boxes"}, "score_threshold": 0.5, "max_results": 7},
                {"objects": 4, "unmatched": 0.0, "unmatched_limit": 0.01},
            ),
            DetectionPostproc(boxes=BoxCoding(kind="boxes"), score_threshold=0.5, max_results=7),
            parity_of(DetectionParity, objects=4, unmatched=0.0, unmatched_limit=0.01),
        ),
        (
            manifest(
                "segmentation",
                ("class_map", "confidence"),
                {"colours": [[1, 2, 3], [4, 5, 6]]},
                {"pixel_agreement": 1.0, "miou": 0.5},
            ),
            SegmentationPostproc(colors=((1, 2, 3), (4, 5, 6))),
            parity_of(SegmentationParity, pixel_agreement=1.0, miou=0.5),
        ),
        (
            manifest(
                "captioning",
                ("token_ids", "log_probability"),
                {"vocabulary": {"kind": "words", "tokens": list(TOKENS), "length": 5}, "max_results": 2},
                {"agreement_limit": 0.9},
            ),
            CaptioningPostproc(vocabulary=Vocabulary(kind="words", tokens=TOKENS, length=5), max_results=2),
            None,
        ),
    ],
    ids=lambda value: value["task"] if isinstance(value, dict) else "",
)
def test_every_task_keeps_its_own_fields(old: dict[str, Any], postproc: PostprocSpec, parity: Parity | None) -> None:
    read = Manifest.model_validate(old)
    assert (read.schema_version, read.postproc) == (2, postproc)
    assert len(read.graphs[0].parities) == (2 if old["task"] in ("classification", "segmentation") else 3)
    for each in read.graphs[0].parities:
        assert each.task == old["task"]
        assert parity is None or each == parity
    assert Manifest.model_validate_json(read.model_dump_json()) == read


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"postproc": {"topk": 3}}, "topk: Extra inputs are not permitted"),
        ({"postproc": {"top_k": 0}}, "top_k: Input should be greater than 0"),
        ({"postproc": 5}, "postproc"),
        ({"graphs": [None]}, "graphs"),
        ({"graphs": 3}, "graphs"),
        ({"task": "divination"}, "'divination' is not a task"),
        ({"task": ["classification"]}, "task"),
    ],
)
def test_damage_is_still_found(changes: dict[str, Any], message: str) -> None:
    old = manifest("classification", ("probabilities",), {}, {})
    with pytest.raises(ValidationError, match=message):
        Manifest.model_validate(old | changes)
