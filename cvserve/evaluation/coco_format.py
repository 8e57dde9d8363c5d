"""Writes results and ground truth in COCO's formats, as pycocotools reads them (https://cocodataset.org/#format-data)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from cvserve.data.objects import Objects
from cvserve.postproc import DetectionResult, ObjectMasks
from cvserve.postproc.encoded_masks import coco_mask


def coco_results(
    results: Sequence[DetectionResult],
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    *,
    kind: Literal["bbox", "segm"] = "bbox",
) -> list[dict[str, Any]]:
    """Returns COCO's results format: [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}, ...].

    Args:
        image_ids: of each result. category_ids: of each class.
        kind: "segm" writes masks in place of boxes, "segmentation": {"size", "counts"}. With both, pycocotools would
            take the area of the box for that of the object.
    """
    rows: list[dict[str, Any]] = []
    for result, image_id in zip(results, image_ids, strict=True):
        for place, item in enumerate(result):
            row: dict[str, Any] = {"image_id": image_id, "category_id": category_ids[item.index], "score": item.score}
            if kind == "bbox":
                corners = item.box
                row["bbox"] = [corners[0], corners[1], corners[2] - corners[0], corners[3] - corners[1]]
            else:
                if result.masks is None:
                    raise ValueError("these results have no masks")
                row["segmentation"] = coco_mask(result.masks, place)
            rows.append(row)
    return rows


def coco_ground_truth(
    objects: Sequence[Objects],
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    classes: Sequence[str],
    images: Sequence[dict[str, Any]] | None = None,
    masks: Sequence[ObjectMasks] | None = None,
) -> dict[str, Any]:
    """Returns COCO's instances format, for pycocotools; ignored objects are crowds.

    Args:
        objects: of each image. image_ids: of each image. category_ids: of each class.
        images: other fields of each image, such as {"file_name", "width", "height"}.
        masks: of the objects of each image.
    """
    if images is None and masks is not None:
        images = [{"width": item.width, "height": item.height} for item in masks]
    annotations = [
        {
            "image_id": image_id,
            "category_id": category_ids[label],
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "area": area,
            "iscrowd": int(ignored),
            **({} if own is None else {"segmentation": coco_mask(own, place)}),
        }
        for item, image_id, own in zip(
            objects, image_ids, list(masks) if masks is not None else [None] * len(objects), strict=True
        )
        for place, (box, label, ignored, area) in enumerate(
            zip(item.boxes.tolist(), item.labels.tolist(), item.ignored.tolist(), item.areas.tolist(), strict=True)
        )
    ]
    return {
        "info": {},
        "images": [
            {"id": image_id, **known}
            for image_id, known in zip(image_ids, images or [{}] * len(image_ids), strict=True)
        ],
        "categories": [{"id": number, "name": name} for number, name in zip(category_ids, classes, strict=True)],
        "annotations": [{"id": number, **item} for number, item in enumerate(annotations, start=1)],
    }


def coco_caption_results(captions: Sequence[str], image_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Returns COCO's results format for captions: [{"image_id", "caption"}, ...], one for each image."""
    return [{"image_id": number, "caption": text} for text, number in zip(captions, image_ids, strict=True)]


def coco_caption_ground_truth(
    references: Sequence[Sequence[str]], image_ids: Sequence[int], names: Sequence[str]
) -> dict[str, Any]:
    """Returns COCO's captions format, for pycocotools and pycocoevalcap.

    Args:
        references: the captions of each image. image_ids, names: of each image.
    """
    captions = [(number, text) for own, number in zip(references, image_ids, strict=True) for text in own]
    return {
        "info": {},
        "type": "captions",
        "images": [{"id": number, "file_name": name} for number, name in zip(image_ids, names, strict=True)],
        "annotations": [
            {"id": place, "image_id": number, "caption": text} for place, (number, text) in enumerate(captions, start=1)
        ],
    }
