"""manifest.json: everything that is known about a packed model, in one versioned schema."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator, model_validator

from cvserve.artifact.specs import InputSpec, OutputSpec, PostprocSpec, PreprocSpec, Spec, Task

SCHEMA_VERSION: Literal[1] = 1
FILE_NAME = "manifest.json"

GraphFormat = Literal["saved_model", "onnx", "tflite"]
Precision = Literal["float32", "float16", "int8"]


class FileEntry(Spec):
    """A file of the artifact: its path relative to the version directory, in POSIX form, and what it must hold."""

    path: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path:
            raise ValueError(f"{path!r} would leave the model's directory")
        return path


class Parity(Spec):
    """How far the graph's answers are from the network it was made from, over real images.

    max_abs_difference: of the compared output (detection: relative to the output's own size; of two-stage networks,
    whose boxes may come in another order, the largest difference of a matched object's score). agreement: share of
    images with the same answer in the task's own metric (classification: the same top class; detection: the same
    objects). limit: what max_abs_difference was held against.

    Of detection alone, after decoding and suppression: objects: how many the network found. unmatched: the share of
    objects, of either side, that the other side has not. unmatched_limit: what that was held against. box_iou,
    box_iou_min: mean and least intersection over union of matched boxes. score_difference: the largest of a matched
    object. map_difference: of the two sides' mean average precision (COCO's), where the truth was known. mask_iou,
    mask_iou_min: mean and least intersection over union of matched objects' masks, where they have some.

    Of segmentation alone (max_abs_difference is of the confidence where both sides have the same class; an image
    agrees whose pixels do): pixel_agreement: the share of pixels with the same class. pixel_agreement_limit: the least
    that holds. miou: mean intersection over union of the two sides' classes. miou_difference: of the two sides' mIoU
    with the truth, where that was known. beyond: of networks in which ties decide (max unpooling), the share of the
    worst image's pixels whose confidence is farther off than limit. beyond_limit: the share that max_abs_difference
    leaves out for that.

    Of captioning alone (max_abs_difference is of the sentences' log probabilities, relative to them where they are
    beyond 1; an image agrees that has the same token ids): agreement_limit: the least agreement that holds.
    """

    images: int = Field(ge=0)
    max_abs_difference: float
    agreement: float = Field(ge=0, le=1)
    limit: float
    against: str = "keras"
    objects: int | None = None
    unmatched: float | None = None
    unmatched_limit: float | None = None
    box_iou: float | None = None
    box_iou_min: float | None = None
    score_difference: float | None = None
    map_difference: float | None = None
    mask_iou: float | None = None
    mask_iou_min: float | None = None
    pixel_agreement: float | None = None
    pixel_agreement_limit: float | None = None
    miou: float | None = None
    miou_difference: float | None = None
    beyond: float | None = None
    beyond_limit: float | None = None
    agreement_limit: float | None = None

    @property
    def holds(self) -> bool:
        if self.unmatched is not None and self.unmatched_limit is not None and self.unmatched > self.unmatched_limit:
            return False
        least, same = self.pixel_agreement_limit, self.pixel_agreement
        if least is not None and same is not None and same < least:
            return False
        if self.agreement_limit is not None and self.agreement < self.agreement_limit:
            return False
        return self.max_abs_difference <= self.limit


class EncodedInput(Spec):
    """A second signature of a SavedModel, which takes encoded images and decodes and resizes them in the graph.

    input: its tensor, strings [B]. parity: its answers against those of the same graph behind `preproc` (OpenCV).
    pixels_max_difference, pixels_mean_difference: between the two sets of network inputs, 0 to 255.
    """

    signature: str = "bytes"
    input: str = "image_bytes"
    parity: Parity
    pixels_max_difference: float = Field(ge=0)
    pixels_mean_difference: float = Field(ge=0)


class DetectSignature(Spec):
    """A second way into a detection graph, which decodes and suppresses itself: for clients without cvserve.

    file: where it is, for a format that holds one graph a file; None: in the graph's own file. signature: its name
    there. parity: its answers against `postproc` behind the network.
    """

    file: FileEntry | None = None
    signature: str = "detect"
    parity: Parity


MEMORY, STATE, NEXT = "memory_", "state_", "next_"
"""How the names of tensors begin in the signatures of `StepGraphs`."""


class StepGraphs(Spec):
    """The two halves of a captioning graph, for who searches the sentence outside of it.

    encode: the signature from the graph's own input to what belongs to the images, `memory_*` [B, ...], and the state
    before the first token, `state_*` [B, ...]. step: the signature from `tokens` int32 [B] (1, <start>, at first),
    `position` int32 [B] (0 at first, and the same for all), `memory_*` and `state_*` to `logits` float32 [B, V] of the
    token that follows, the state after it, `next_*`, and `attention` float32 [B, L] where there is one. A format may
    leave out inputs of which nothing depends. encode_file, step_file: where they are, for a format that holds one graph
    a file; None: in the graph's own file. parity: of the sentences found with them.
    """

    encode: str = "encode"
    step: str = "step"
    encode_file: FileEntry | None = None
    step_file: FileEntry | None = None
    parity: Parity

    @property
    def files(self) -> tuple[FileEntry, ...]:
        return tuple(file for file in (self.encode_file, self.step_file) if file is not None)


class Graph(Spec):
    """One executable form of the model.

    files: the first is the one that a runtime opens. batch: None takes any batch size, a number takes just that.
    signature: of a SavedModel or a TFLite file. parity: None for a graph that was imported as it is, since there is
    nothing to compare it with. latency_ms: batch size to median milliseconds a call, where it was built.
    """

    format: GraphFormat
    precision: Precision = "float32"
    files: tuple[FileEntry, ...] = Field(min_length=1)
    batch: int | None = None
    signature: str = "serving_default"
    parity: Parity | None = None
    encoded: EncodedInput | None = None
    detect: DetectSignature | None = None
    steps: StepGraphs | None = None
    latency_ms: dict[str, float] = {}

    @property
    def path(self) -> str:
        return self.files[0].path

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def usable(self) -> bool:
        """Whether `auto` may choose it: its parity holds, or there is nothing to compare it with."""
        return self.parity is None or self.parity.holds


class Provenance(Spec):
    """Where the model came from."""

    source: Literal["cvserve", "import"] = "cvserve"
    architecture: str = ""
    dataset: str = ""
    metrics: dict[str, float] = {}
    licence: str = ""
    cvserve_version: str = ""
    created: str = ""
    notes: str = ""


class Manifest(Spec):
    """The whole manifest. `labels` are in index order."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}$")
    version: int = Field(ge=1)
    task: Task
    labels: tuple[str, ...] = ()
    preproc: PreprocSpec
    input: InputSpec = InputSpec()
    outputs: tuple[OutputSpec, ...] = Field(min_length=1)
    postproc: PostprocSpec = PostprocSpec()
    graphs: tuple[Graph, ...] = Field(min_length=1)
    extra_files: tuple[FileEntry, ...] = ()
    provenance: Provenance = Provenance()

    @model_validator(mode="after")
    def _check(self) -> Manifest:
        if self.task == "classification":
            self._check_classification()
        elif self.task == "detection":
            self._check_detection()
        elif self.task == "segmentation":
            self._check_segmentation()
        elif self.task == "captioning":
            self._check_captioning()
        return self

    def _check_classification(self) -> None:
        if not self.labels:
            raise ValueError("a classification model needs labels")
        output = self.output("probabilities") or self.output("logits")  # in the order of postproc.class_scores
        if output is None:
            raise ValueError("a classification model needs an output of role probabilities or logits")
        if output.role == "logits" and self.postproc.activation == "none":
            raise ValueError(f"output {output.name!r} holds logits: postproc.activation must be softmax or sigmoid")
        if output.shape and output.shape[-1] not in (None, len(self.labels)):
            raise ValueError(f"{len(self.labels)} labels for the {output.shape[-1]} classes of {output.name!r}")

    def _check_detection(self) -> None:
        if not self.labels:
            raise ValueError("a detection model needs labels")
        boxes = self.postproc.boxes
        suppressed = boxes is not None and boxes.kind == "boxes"
        if boxes is None or (self.postproc.activation == "none" and not suppressed):
            raise ValueError("a detection model needs postproc.boxes, and sigmoid or softmax as postproc.activation")
        roles = ["box_offsets", "class_logits"] + (["proposals"] if not boxes.levels else [])
        for role in ["boxes", "scores", "classes"] if suppressed else roles:
            if self.output(role) is None:
                raise ValueError(f"a detection model of this kind needs an output of role {role}")
        if self.has_masks and not suppressed:
            raise ValueError("masks are of boxes that the graph has suppressed: postproc.boxes must be of kind 'boxes'")
        logits = self.output("class_logits")
        classes = len(self.labels) + (self.postproc.activation == "softmax")
        if logits is not None and logits.shape and logits.shape[-1] not in (None, classes):
            raise ValueError(f"{len(self.labels)} labels do not fit the {logits.shape[-1]} scores of {logits.name!r}")

    def _check_segmentation(self) -> None:
        if not self.labels:
            raise ValueError("a segmentation model needs labels")
        if len(self.labels) > 255:
            raise ValueError(f"a class map has one byte a pixel, which is too little for {len(self.labels)} labels")
        for role in ("class_map", "confidence"):
            if self.output(role) is None:
                raise ValueError(f"a segmentation model needs an output of role {role}")
        if self.postproc.colors and len(self.postproc.colors) != len(self.labels):
            raise ValueError(f"{len(self.postproc.colors)} colours do not fit {len(self.labels)} labels")

    def _check_captioning(self) -> None:
        vocabulary = self.postproc.vocabulary
        if vocabulary is None:
            raise ValueError("a captioning model needs postproc.vocabulary")
        for role in ("token_ids", "log_probability"):
            if self.output(role) is None:
                raise ValueError(f"a captioning model needs an output of role {role}")
        ids = self.output("token_ids")
        if ids is not None and ids.shape and (ids.shape[-1] or 0) > vocabulary.length:
            raise ValueError(f"sentences of {ids.shape[-1]} tokens do not fit a vocabulary of {vocabulary.length}")

    def output(self, role: str) -> OutputSpec | None:
        """The output with this role, or None."""
        return next((output for output in self.outputs if output.role == role), None)

    @property
    def has_masks(self) -> bool:
        """Of detection: whether the objects come with masks (instance segmentation)."""
        return self.task == "detection" and self.output("masks") is not None

    @property
    def all_files(self) -> tuple[FileEntry, ...]:
        seen = {file.path: file for graph in self.graphs for file in graph.files}
        seen.update(
            {graph.detect.file.path: graph.detect.file for graph in self.graphs if graph.detect and graph.detect.file}
        )
        seen.update({file.path: file for graph in self.graphs if graph.steps for file in graph.steps.files})
        seen.update({file.path: file for file in self.extra_files})
        return tuple(seen.values())
