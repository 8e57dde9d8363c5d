"""Reads what was written under schema 1, in which one PostprocSpec and one Parity had the fields of all tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_POSTPROC: dict[str, frozenset[str]] = {
    "classification": frozenset({"top_k", "activation"}),
    "detection": frozenset(
        {"activation", "boxes", "score_threshold", "iou_threshold", "max_candidates", "max_results"}
    ),
    "segmentation": frozenset({"colors", "colours"}),
    "captioning": frozenset({"vocabulary", "decoding", "max_results"}),
}
_PARITY: dict[str, frozenset[str]] = {
    "classification": frozenset(),
    "detection": frozenset(
        {
            "objects",
            "unmatched",
            "unmatched_limit",
            "box_iou",
            "box_iou_min",
            "score_difference",
            "map_difference",
            "mask_iou",
            "mask_iou_min",
        }
    ),
    "segmentation": frozenset(
        {"pixel_agreement", "pixel_agreement_limit", "miou", "miou_difference", "beyond", "beyond_limit"}
    ),
    "captioning": frozenset({"agreement_limit"}),
}


def upgrade_manifest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a manifest of schema 1 (parsed JSON) in schema 2. Damaged parts stay, for `Manifest` to refuse."""
    upgraded: dict[str, Any] = {**values, "schema_version": 2}
    task, graphs = values.get("task"), values.get("graphs")
    if not isinstance(task, str) or task not in _POSTPROC:
        return upgraded
    if isinstance(values.get("postproc"), Mapping):
        upgraded["postproc"] = upgrade_postproc(values["postproc"], task)
    if isinstance(graphs, list | tuple):
        upgraded["graphs"] = [_upgrade_graph(graph, task) for graph in graphs]
    return upgraded


def upgrade_postproc(values: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Returns a PostprocSpec of schema 1 with the fields of its task alone. Unknown keys stay."""
    return _only_own(values, task, _POSTPROC)


def _upgrade_graph(graph: Any, task: str) -> Any:
    if not isinstance(graph, Mapping):
        return graph
    upgraded = dict(graph)
    if isinstance(graph.get("parity"), Mapping):
        upgraded["parity"] = _only_own(graph["parity"], task, _PARITY)
    for signature in ("encoded", "detect", "steps"):
        values = graph.get(signature)
        if isinstance(values, Mapping) and isinstance(values.get("parity"), Mapping):
            upgraded[signature] = {**values, "parity": _only_own(values["parity"], task, _PARITY)}
    return upgraded


def _only_own(values: Mapping[str, Any], task: str, fields: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    others = frozenset[str]().union(*fields.values()) - fields.get(task, frozenset())
    return {"task": task, **{key: value for key, value in values.items() if key not in others}}
