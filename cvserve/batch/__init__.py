"""Runs a model on folders of images and writes files of results."""

from cvserve.batch.coco_numbers import CocoNumbers, GroundTruthNumbers, OwnNumbers
from cvserve.batch.instances import open_instances
from cvserve.batch.predict import Summary, predict
from cvserve.batch.sinks import SINK_RULES, CocoSink, CsvSink, JsonLinesSink, Sink, open_sink
from cvserve.batch.sources import Source, Sources

__all__ = [
    "SINK_RULES",
    "CocoNumbers",
    "CocoSink",
    "CsvSink",
    "GroundTruthNumbers",
    "JsonLinesSink",
    "OwnNumbers",
    "Sink",
    "Source",
    "Sources",
    "Summary",
    "open_instances",
    "open_sink",
    "predict",
]
