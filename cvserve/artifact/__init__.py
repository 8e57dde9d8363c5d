"""Reads, checks and publishes artifacts: the files of a model and their manifest. Imports no TensorFlow."""

from cvserve.artifact.base import Spec
from cvserve.artifact.boxes import BoxCoding, BoxLevel
from cvserve.artifact.decoding import Decoding
from cvserve.artifact.graphs import DetectSignature, EncodedInput, FileEntry, Graph, StepGraphs
from cvserve.artifact.manifest import Manifest, Provenance
from cvserve.artifact.specs import InputSpec, OutputSpec, PreprocSpec, Quantization
from cvserve.artifact.store import Artifact, file_entry, models, publish, read, resolve, versions
from cvserve.artifact.task_spec import (
    TASK_SPECS,
    AnyParity,
    AnyPostproc,
    Parity,
    PostprocSpec,
    Task,
    TaskSpec,
    default_postproc,
)
from cvserve.artifact.tasks.captioning import CaptioningParity, CaptioningPostproc
from cvserve.artifact.tasks.classification import ClassificationParity, ClassificationPostproc
from cvserve.artifact.tasks.detection import DetectionParity, DetectionPostproc
from cvserve.artifact.tasks.segmentation import SegmentationParity, SegmentationPostproc
from cvserve.artifact.vocabulary import Vocabulary

__all__ = [
    "TASK_SPECS",
    "AnyParity",
    "AnyPostproc",
    "Artifact",
    "BoxCoding",
    "BoxLevel",
    "CaptioningParity",
    "CaptioningPostproc",
    "ClassificationParity",
    "ClassificationPostproc",
    "Decoding",
    "DetectSignature",
    "DetectionParity",
    "DetectionPostproc",
    "EncodedInput",
    "FileEntry",
    "Graph",
    "InputSpec",
    "Manifest",
    "OutputSpec",
    "Parity",
    "PostprocSpec",
    "PreprocSpec",
    "Provenance",
    "Quantization",
    "SegmentationParity",
    "SegmentationPostproc",
    "Spec",
    "StepGraphs",
    "Task",
    "TaskSpec",
    "Vocabulary",
    "default_postproc",
    "file_entry",
    "models",
    "publish",
    "read",
    "resolve",
    "versions",
]
