"""The small network and its export, made once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_network import LABELS, PREPROC, encode, make_images, make_model

from cvserve.artifact import Artifact, Provenance


@pytest.fixture(scope="session")
def model() -> Any:
    return make_model()


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    return make_images(12)


@pytest.fixture(scope="session")
def exported(model: Any, images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Version 1 of repository/shapes, in all formats."""
    from cvserve.export import export_model

    files = [encode(image) for image in make_images(4, 90, 70, seed=1)]
    files.append(encode(make_images(1, 20, 20, seed=2)[0], ".png"))
    return export_model(
        model,
        tmp_path_factory.mktemp("repository") / "shapes",
        task="classification",
        labels=LABELS,
        preproc=PREPROC,
        parity_images=images,
        encoded_images=files,
        provenance=Provenance(architecture="small", dataset="drawn", licence="CC0"),
    )
