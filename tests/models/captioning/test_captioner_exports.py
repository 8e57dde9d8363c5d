"""Every kind of captioning network gives the same sentences in every format, in one call and step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tiny_decoder import vocabulary

from cvserve.artifact import CaptioningPostproc, Decoding, FileEntry, Graph, Manifest, PreprocSpec
from cvserve.export.checks import output_specs
from cvserve.export.network import Network
from cvserve.export.parity import ParityImages, check_parity
from cvserve.export.targets import select_targets
from cvserve.export.task_export import TASK_EXPORTS
from cvserve.export.writing import write_targets
from cvserve.models import build_model
from cvserve.models.captioning.captions import with_decoding

pytestmark = pytest.mark.slow

SIZE = (32, 48)
_ENCODER = {"backbone_options": {"width": 4}, "stride": 16, "channels": 6, "dropout": 0.0}
_RECURRENT = {**_ENCODER, "units": 8, "embedding": 6}
_TRANSFORMER = {**_ENCODER, "width": 8, "depth": 2, "heads": 2, "hidden": 12}
GREEDY = Decoding()
BEAM = Decoding(method="beam", beam_width=3, length_penalty=0.7, no_repeat_ngram=2)


@pytest.mark.parametrize(
    ("name", "options", "decoding"),
    [
        pytest.param(
            "show_and_tell",
            {**_RECURRENT, "cell": "gru", "pooling": "flatten"},
            GREEDY,
            marks=pytest.mark.thorough,
        ),
        ("show_attend_tell", {**_RECURRENT, "attention": 5}, BEAM),
        ("transformer", {**_TRANSFORMER, "positions": "sinusoidal", "activation": "gelu_tanh"}, GREEDY),
    ],
)
def test_every_format_gives_the_same_sentences(
    name: str, options: dict[str, Any], decoding: Decoding, tmp_path: Path
) -> None:
    words = vocabulary(length=7)
    keras.utils.set_random_seed(0)
    built = build_model("captioning", name, num_classes=len(words), length=words.length, image_size=SIZE, **options)
    for variable in built.decoder.trainable_variables:
        variable.assign(3.0 * variable)  # or every place and every word would be nearly alike
    preproc = PreprocSpec(height=SIZE[0], width=SIZE[1], resize="exact")
    network = Network(with_decoding(built.network, decoding), preproc)
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 6, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    asked = ParityImages(images, [f"image {number}" for number in range(9)], network.answers(images))
    assert len(np.unique(asked.expected["token_ids"], axis=0)) > 1
    manifest = Manifest(
        name=name,
        version=1,
        task="captioning",
        preproc=preproc,
        outputs=output_specs(asked.expected, {}),
        postproc=CaptioningPostproc(vocabulary=words, decoding=decoding),
        graphs=(Graph(format="onnx", files=(FileEntry(path="unwritten", bytes=0, sha256="0" * 64),)),),
    )
    export = TASK_EXPORTS["captioning"]
    comparison = export.comparison(manifest, 1e-4)
    signatures = export.extra_signatures(network, manifest, detect=False, steps=True)
    for written in write_targets(network, tmp_path, select_targets(None), signatures, lambda _: None):
        runtime = written.open()
        whole = check_parity(runtime, asked, comparison, what=written.target.name)
        steps = export.check_signatures(written, runtime, tmp_path, asked, comparison)["steps"].parity
        assert (whole.agreement, steps.agreement) == (1.0, 1.0)
        runtime.close()
