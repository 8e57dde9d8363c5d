"""A real but tiny detector for tests: an ONNX graph whose 8 x 8 cells each report how red, green and blue they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cvserve.artifact import (
    Artifact,
    BoxCoding,
    BoxLevel,
    DetectionPostproc,
    Graph,
    Manifest,
    OutputSpec,
    PreprocSpec,
    file_entry,
    publish,
)

LABELS = ("red", "green", "blue")
SIZE, CELLS = 64, 8
POSTPROC = DetectionPostproc(
    activation="sigmoid",
    score_threshold=0.25,
    boxes=BoxCoding(kind="distances", levels=(BoxLevel(rows=CELLS, columns=CELLS),)),
)


def score_of(value: int) -> float:
    """The score of a cell whose channel has this value everywhere."""
    return float(1 / (1 + np.exp(-(value - 150) / 10)))


def publish_cells(model_directory: Path) -> Artifact:
    """Publishes the next version of the detector; a cell of one colour is an object, just as large as the cell."""

    def build(directory: Path, version: int) -> Manifest:
        write_cells(directory / "model.onnx")
        return Manifest(
            name=model_directory.name,
            version=version,
            task="detection",
            labels=LABELS,
            preproc=PreprocSpec(height=SIZE, width=SIZE, resize="letterbox", fill=(120, 120, 120)),
            outputs=(
                OutputSpec(name="box_offsets", role="box_offsets", shape=(CELLS**2, 4)),
                OutputSpec(name="class_logits", role="class_logits", shape=(CELLS**2, 3)),
            ),
            postproc=POSTPROC,
            graphs=(Graph(format="onnx", files=(file_entry(directory, directory / "model.onnx"),)),),
        )

    return publish(model_directory, build)


def write_cells(path: Path) -> None:
    """uint8 `images` [batch, 64, 64, 3] to `class_logits` [batch, 64, 3], a tenth of a cell's mean above 150, and
    `box_offsets` [batch, 64, 4], all of them half a cell."""
    import onnx
    from onnx import TensorProto, helper

    side = SIZE // CELLS
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["means"], kernel_shape=[side, side], strides=[side, side]),
        helper.make_node("Transpose", ["means"], ["grid"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["grid", "cells"], ["values"]),
        helper.make_node("Sub", ["values", "middle"], ["above"]),
        helper.make_node("Mul", ["above", "tenth"], ["class_logits"]),
        helper.make_node("ReduceSum", ["values", "last"], ["sums"], keepdims=1),
        helper.make_node("Mul", ["sums", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "halves"], ["box_offsets"]),
    ]
    constants = [
        helper.make_tensor("cells", TensorProto.INT64, [3], [-1, CELLS**2, 3]),
        helper.make_tensor("middle", TensorProto.FLOAT, [], [150.0]),
        helper.make_tensor("tenth", TensorProto.FLOAT, [], [0.1]),
        helper.make_tensor("last", TensorProto.INT64, [1], [2]),
        helper.make_tensor("nothing", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("halves", TensorProto.FLOAT, [1, 1, 4], [0.5] * 4),
    ]
    graph = helper.make_graph(
        nodes,
        "cells",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("box_offsets", TensorProto.FLOAT, ["batch", CELLS**2, 4]),
            helper.make_tensor_value_info("class_logits", TensorProto.FLOAT, ["batch", CELLS**2, 3]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


Block = tuple[str, int, int, int]
"""Colour, row and column of a cell, and its value."""


def cell_box(row: int, column: int) -> list[float]:
    """The box of a cell in an image of 128 x 96, which enters the graph at half its size, 8 pixels from the top."""
    return [16.0 * column, 16.0 * row, 16.0 * column + 16, 16.0 * row + 16]


def write_blocks(path: Path, blocks: Sequence[Block]) -> Path:
    """A black image of 128 x 96 with blocks of 16 x 16 on its 6 rows and 8 columns of cells."""
    pixels = np.zeros((96, 128, 3), np.uint8)
    for color, row, column, value in blocks:
        pixels[16 * row : 16 * row + 16, 16 * column : 16 * column + 16, LABELS.index(color)] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(path.suffix, pixels[..., ::-1])
    assert encoded
    path.write_bytes(data.tobytes())
    return path


def write_ground_truth(
    path: Path, ground_truth: dict[str, Sequence[Block]], numbers: Sequence[int] = (7, 30, 12)
) -> Path:
    """A ground truth in COCO's format: the blocks by file name, images numbered 11, 22, ... , categories as given."""
    annotations = [
        {
            "id": 0,
            "image_id": 11 * place,
            "category_id": numbers[LABELS.index(color)],
            "bbox": [16 * column, 16 * row, 16, 16],
            "area": 256,
            "iscrowd": 0,
        }
        for place, blocks in enumerate(ground_truth.values(), 1)
        for color, row, column, _ in blocks
    ]
    content = {
        "images": [
            {"id": 11 * place, "file_name": name, "width": 128, "height": 96}
            for place, name in enumerate(ground_truth, 1)
        ],
        "categories": [{"id": number, "name": label} for number, label in zip(numbers, LABELS, strict=True)],
        "annotations": [{**item, "id": number} for number, item in enumerate(annotations, 1)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
