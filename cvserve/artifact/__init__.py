"""The model on disk: manifest, layout, integrity. Ground floor: no TensorFlow here."""

from cvserve.artifact.decoding import Decoding
from cvserve.artifact.manifest import (
    DetectSignature,
    EncodedInput,
    FileEntry,
    Graph,
    Manifest,
    Parity,
    Provenance,
    StepGraphs,
)
from cvserve.artifact.specs import (
    TASKS,
    BoxCoding,
    BoxLevel,
    InputSpec,
    OutputSpec,
    PostprocSpec,
    PreprocSpec,
    Quantization,
    Task,
)
from cvserve.artifact.store import Artifact, file_entry, models, publish, read, resolve, versions
from cvserve.artifact.vocabulary import Vocabulary

__all__ = [
    "TASKS",
    "Artifact",
    "BoxCoding",
    "BoxLevel",
    "Decoding",
    "DetectSignature",
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
    "StepGraphs",
    "Task",
    "Vocabulary",
    "file_entry",
    "models",
    "publish",
    "read",
    "resolve",
    "versions",
]
