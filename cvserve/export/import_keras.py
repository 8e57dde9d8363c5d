"""Imports a Keras file: gives it cvserve's input, then exports it like a network of cvserve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cvserve.artifact import Artifact, ClassificationPostproc, PreprocSpec, Provenance
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.export.contract import input_contract, output_contract
from cvserve.export.exporter import export_model
from cvserve.export.import_spec import ImportSpec
from cvserve.export.network import output_names, with_pixel_input
from cvserve.export.writing import Progress
from cvserve.preproc import ImageSource, preprocess
from cvserve.runtimes import TensorInfo
from cvserve.runtimes.tensorflow import import_tensorflow

if TYPE_CHECKING:
    import keras

_IMAGES = 16


def import_keras(
    path: Path,
    spec: ImportSpec,
    to: Path,
    labels: tuple[str, ...],
    sources: Sequence[ImageSource] = (),
    on_step: Progress | None = None,
) -> Artifact:
    """Imports a .keras or .h5 file; see `cvserve.export.import_model`."""
    model = _load(path)
    infos = {tensor.name: _info(tensor) for tensor in model.inputs}
    contract, preproc = input_contract(spec, infos, {})
    names = output_names(model)
    picked = spec.output.name or (names[0] if len(names) == 1 else None)
    if picked not in names:
        reason = f"output.name says {picked!r}" if picked else f"the file has {len(names)} outputs"
        raise InvalidInput(f"{reason}; write output.name, one of {', '.join(names)}")
    images = (
        np.stack([preprocess(source, preproc)[0] for source in sources])
        if len(sources)
        else generated_images(_IMAGES, preproc)
    )
    wrapped = with_pixel_input(model, contract, preproc, picked, picked)
    values = np.asarray(wrapped(images[:2], training=False)[picked])
    given = {picked: TensorInfo(picked, str(values.dtype), (None, *values.shape[1:]))}
    role = output_contract(spec, labels, given, {}, {picked: values}).role
    # In cvserve's exports an output is named after its role.
    wrapped = with_pixel_input(model, contract, preproc, picked, role)
    return export_model(
        wrapped,
        to,
        task=spec.task,
        labels=labels,
        preproc=preproc,
        parity_images=images,
        postproc=ClassificationPostproc(
            top_k=spec.top_k, activation=spec.output.activation if role == "logits" else "none"
        ),
        provenance=Provenance(
            source="import",
            architecture=spec.architecture or model.name,
            dataset=spec.dataset,
            licence=spec.licence,
            notes=spec.notes,
        ),
        on_step=on_step,
    )


def generated_images(count: int, preproc: PreprocSpec) -> np.ndarray:
    """Returns uint8 [count, H, W, 3]: noise at several scales, from smooth to fine, where there are no real images."""
    random = np.random.default_rng(0)
    images = []
    for number in range(count):
        image = np.zeros((preproc.height, preproc.width, 3), np.float32)
        for cells in (2, 5, 3 + 4 * (number % 8)):
            noise = random.random((cells, cells, 3), dtype=np.float32)
            image += cv2.resize(noise, (preproc.width, preproc.height), interpolation=cv2.INTER_CUBIC)
        low, high = image.min(), image.max()
        images.append(((image - low) / (high - low) * random.uniform(120, 255)).astype(np.uint8))
    return np.stack(images)


def _load(path: Path) -> keras.Model:
    import_tensorflow()
    import keras

    try:
        model = keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"Keras cannot load {path}: {reason}") from error
    if not getattr(model, "inputs", None):
        raise InvalidInput(f"{path} holds a network whose input shape is unknown; call it once before saving it")
    return model


def _info(tensor: Any) -> TensorInfo:
    return TensorInfo(str(tensor.name), str(tensor.dtype), (None, *tuple(tensor.shape)[1:]))
