"""Turns raw heads into objects: low scores are dropped, the rest decoded into boxes and suppressed by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cvserve.artifact import DetectionPostproc
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.postproc.boxes import choose_candidates, decode_boxes, nms
from cvserve.postproc.contract import Contract
from cvserve.postproc.pasting import paste
from cvserve.postproc.quantized import real_values
from cvserve.postproc.results import DetectionResult

if TYPE_CHECKING:
    from cvserve.postproc.decode import Options
    from cvserve.preproc import Geometry

ROLES = ("box_offsets", "class_logits", "objectness", "proposals", "boxes", "scores", "classes", "masks")


class DecodedObjects(NamedTuple):
    """Holds the objects of an image, best first.

    boxes: float32 [N, 4] in pixels of the graph's input. scores: float32 [N].
    classes: int32 [N]. masks: float32 [N, R, R], how likely each cell of the box is the object's; None without.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: np.ndarray | None = None


def decode_detection(
    outputs: Mapping[str, np.ndarray],
    geometries: Sequence[Geometry],
    manifest: Contract,
    *,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_results: int | None = None,
    masks: bool = True,
) -> list[DetectionResult]:
    """Returns one result an image, boxes and masks in the coordinates of the original.

    Args:
        outputs: the graph's outputs by name, batch first.
        geometries: how each image was resized.
        score_threshold, iou_threshold, max_results: None takes the manifest's.
        masks: whether the masks of the graph are resized to the image, which takes time.

    Raises:
        ArtifactError: the outputs are not what the manifest says.
        InvalidInput: another number of geometries than images.
    """
    by_role: dict[str, np.ndarray] = {}
    for spec in manifest.outputs:
        if spec.role in ROLES:
            if spec.name not in outputs:
                raise ArtifactError(f"{manifest.name}: the graph has no output {spec.name!r}, only {sorted(outputs)}")
            by_role[spec.role] = real_values(outputs[spec.name], spec)
    _check_labels(by_role, manifest)
    objects = decode_detection_arrays(
        by_role,
        DetectionPostproc.of(manifest),
        manifest.preproc.height,
        manifest.preproc.width,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_results=max_results,
    )
    if len(objects) != len(geometries):
        raise InvalidInput(f"the graph answered for {len(objects)} images, {len(geometries)} were given")
    if not masks:
        objects = [item._replace(masks=None) for item in objects]
    return [in_original(item, geometry, manifest.labels) for item, geometry in zip(objects, geometries, strict=True)]


def in_original(objects: DecodedObjects, geometry: Geometry, labels: tuple[str, ...]) -> DetectionResult:
    """Returns objects in the coordinates of the original image, without those that lie outside of it."""
    boxes = geometry.to_original(objects.boxes)
    inside = _with_area(boxes)
    width, height = geometry.original_width, geometry.original_height
    masks = None
    if objects.masks is not None:
        # A mask covers the network's whole box, so the box is not clipped to the original image here.
        places = geometry.to_original(objects.boxes[inside], clip=False)
        masks = paste(objects.masks[inside], places, height, width)
    return DetectionResult(boxes[inside], objects.scores[inside], objects.classes[inside], labels, width, height, masks)


def decode_detection_arrays(
    outputs: Mapping[str, np.ndarray],
    spec: DetectionPostproc,
    height: int,
    width: int,
    *,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_results: int | None = None,
) -> list[DecodedObjects]:
    """Returns the objects of each image, in pixels of the graph's input, clipped to it.

    Args:
        outputs: float32 by role, batch first: see `BoxCoding` and `DetectionPostproc`.
        height, width: of the graph's input.
        score_threshold, iou_threshold, max_results: None takes the spec's.

    Raises:
        ArtifactError: a role is missing, shapes do not fit, or a value is not a number.
    """
    coding = spec.boxes
    if coding.kind == "boxes":
        return _decode_suppressed(outputs, spec, height, width, score_threshold, iou_threshold, max_results)
    if "box_offsets" not in outputs or "class_logits" not in outputs:
        raise ArtifactError("a detection graph needs outputs of roles box_offsets and class_logits")
    threshold = spec.score_threshold if score_threshold is None else score_threshold
    overlap = spec.iou_threshold if iou_threshold is None else iou_threshold
    most = spec.max_results if max_results is None else max_results
    _check_shapes(outputs, spec)
    offsets, logits = outputs["box_offsets"], outputs["class_logits"]
    corner = np.array([width, height, width, height], np.float32)
    results = []
    for index in range(len(logits)):
        objectness = outputs["objectness"][index].reshape(-1) if "objectness" in outputs else None
        chosen, classes, scores = choose_candidates(logits[index], objectness, spec, threshold)
        proposals = outputs["proposals"][index][chosen] if not coding.levels and "proposals" in outputs else None
        numbers = offsets[index][chosen] if offsets.ndim == 3 else offsets[index][chosen, classes]
        # Infinite numbers may make NaN here, which is an error below.
        with np.errstate(invalid="ignore", over="ignore"):
            boxes = decode_boxes(numbers, coding, height, width, proposals, chosen)
        if np.isnan(boxes).any() or np.isnan(offsets[index].max(initial=0)):
            raise ArtifactError("the graph gave boxes that are not numbers (NaN)")
        boxes = np.clip(boxes, 0, corner).astype(np.float32, copy=False)
        solid = np.flatnonzero(_with_area(boxes))
        kept = solid[nms(boxes[solid], scores[solid], classes[solid], overlap, most)]
        results.append(DecodedObjects(boxes[kept], scores[kept], classes[kept].astype(np.int32)))
    return results


def _decode_suppressed(
    outputs: Mapping[str, np.ndarray],
    spec: DetectionPostproc,
    height: int,
    width: int,
    score_threshold: float | None,
    iou_threshold: float | None,
    max_results: int | None,
) -> list[DecodedObjects]:
    """Does `decode_detection_arrays` for a graph that decodes and suppresses its boxes itself (kind "boxes")."""
    missing = [role for role in ("boxes", "scores", "classes") if role not in outputs]
    if missing:
        raise ArtifactError(f"a graph that suppresses itself needs an output of role {missing[0]}")
    all_boxes, all_scores, all_classes = outputs["boxes"], outputs["scores"], outputs["classes"]
    masks = outputs.get("masks")
    if all_boxes.shape != (*all_scores.shape, 4) or all_scores.ndim != 2 or all_classes.shape != all_scores.shape:
        raise ArtifactError(
            f"boxes {list(all_boxes.shape)}, scores {list(all_scores.shape)} and classes {list(all_classes.shape)} do "
            "not fit"
        )
    if masks is not None and (masks.ndim != 4 or masks.shape[:2] != all_scores.shape):
        raise ArtifactError(f"masks {list(masks.shape)} do not fit scores {list(all_scores.shape)}")
    for what, values in (("boxes", all_boxes), ("scores", all_scores), ("masks", masks)):
        if values is not None and not np.isfinite(values).all():
            raise ArtifactError(f"the graph gave {what} that are not numbers")
    # A score of 0 marks an unused row, whatever the threshold.
    threshold = max(spec.score_threshold if score_threshold is None else score_threshold, np.finfo(np.float32).tiny)
    overlap = spec.iou_threshold if iou_threshold is None else iou_threshold
    most = spec.max_results if max_results is None else max_results
    corner = np.array([width, height, width, height], np.float32)
    results = []
    for index, scores in enumerate(all_scores):
        boxes, classes = np.clip(all_boxes[index], 0, corner), all_classes[index].astype(np.int32)
        real = np.flatnonzero((scores >= threshold) & _with_area(boxes))
        kept = real[nms(boxes[real], scores[real], classes[real], overlap, most)]
        results.append(
            DecodedObjects(boxes[kept], scores[kept], classes[kept], None if masks is None else masks[index][kept])
        )
    return results


def _with_area(boxes: np.ndarray) -> np.ndarray:
    """Returns which boxes [N, 4] have an area: bool [N]."""
    solid: np.ndarray = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return solid


def _check_shapes(outputs: Mapping[str, np.ndarray], spec: DetectionPostproc) -> None:
    offsets, logits = outputs["box_offsets"], outputs["class_logits"]
    if logits.ndim != 3 or offsets.shape[:2] != logits.shape[:2] or offsets.shape[-1] != 4:
        raise ArtifactError(f"box_offsets {list(offsets.shape)} and class_logits {list(logits.shape)} do not fit")
    boxes, classes = logits.shape[1], logits.shape[2] - (spec.activation == "softmax")
    if offsets.shape[2:-1] not in ((), (classes,)):
        raise ArtifactError(f"box_offsets {list(offsets.shape)} do not fit {classes} classes")
    if spec.boxes is not None and spec.boxes.boxes not in (None, boxes):
        raise ArtifactError(f"the graph gave {boxes} boxes, its box coding has {spec.boxes.boxes}")
    for role, each in (("objectness", 1), ("proposals", 4)):
        if role in outputs and outputs[role].size != logits.shape[0] * boxes * each:
            raise ArtifactError(f"{role} {list(outputs[role].shape)} do not fit {boxes} boxes an image")


def _check_labels(outputs: Mapping[str, np.ndarray], manifest: Contract) -> None:
    indexes = outputs.get("classes")
    if indexes is not None and indexes.size and not 0 <= indexes.min() <= indexes.max() < len(manifest.labels):
        raise ArtifactError(
            f"{manifest.name}: there are classes from {indexes.min():g} to {indexes.max():g}, but "
            f"{len(manifest.labels)} labels"
        )
    logits = outputs.get("class_logits")
    classes = len(manifest.labels) + (DetectionPostproc.of(manifest).activation == "softmax")
    if logits is not None and logits.shape[-1:] != (classes,):
        raise ArtifactError(
            f"{manifest.name}: class_logits have shape {list(logits.shape)}, which is not [batch, boxes, {classes}]"
        )


def _decode(
    outputs: Mapping[str, np.ndarray], geometries: Sequence[Geometry], manifest: Contract, options: Options
) -> list[DetectionResult]:
    return decode_detection(
        outputs,
        geometries,
        manifest,
        score_threshold=options.score_threshold,
        max_results=options.max_results,
        masks=options.mask_format != "none",
    )


DECODER = _decode
