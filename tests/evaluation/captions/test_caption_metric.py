"""Scores of captions and the files written of them, with pycocoevalcap on these files as the oracle."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cvserve.artifact import CaptioningPostproc, PreprocSpec
from cvserve.data import Scenes, all_captions
from cvserve.evaluation.captions import CaptionReport
from cvserve.evaluation.captions.page import EACH
from cvserve.evaluation.captions.scored import ImageScores, ScoredImage, worst_and_best
from cvserve.evaluation.metrics import METRICS
from cvserve.postproc import NetworkContract
from cvserve.postproc.text import text_width
from cvserve.postproc.wrapping import wrapped
from cvserve.preproc import Geometry
from cvserve.text import Tokenizer, caption_words, learn_vocabulary

SCENES = Scenes(20, task="captioning", image_size=32, split="val")
TOKENIZER = Tokenizer(learn_vocabulary(all_captions(SCENES), min_count=1))
CONTRACT = NetworkContract.of(
    "teller",
    "captioning",
    (),
    PreprocSpec(height=32, width=32),
    CaptioningPostproc(vocabulary=TOKENIZER.vocabulary),
    ("token_ids", "log_probability"),
)


def scored(images: int = 20) -> tuple[CaptionReport, list[str]]:
    """Every other image has its first sentence, the rest that of the next one."""
    task = METRICS["captioning"]
    metric = task.create(CONTRACT, SCENES)
    sentences = [SCENES.captions((index + index % 2) % len(SCENES))[0] for index in range(images)]
    for start in range(0, images, 8):
        part = range(start, min(start + 8, images))
        ids = TOKENIZER.encode_all(sentences[index] for index in part)
        outputs = {"token_ids": ids, "log_probability": np.full(len(part), -1.0, np.float32)}
        predictions = task.predictions(outputs, [Geometry(32, 32, 1.0, 1.0)] * len(part), CONTRACT)
        metric.update(predictions, [task.ground_truth(SCENES, index, CONTRACT) for index in part], part)
    report = metric.compute()
    assert isinstance(report, CaptionReport)
    return report, sentences


def test_scores_are_those_that_pycocoevalcap_computes_of_the_files(tmp_path: Path) -> None:
    pytest.importorskip("pycocoevalcap")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocotools.coco import COCO

    report, sentences = scored()
    report.write(tmp_path, SCENES, CONTRACT)
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO(str(tmp_path / "ground_truth.json"))
        found = ground_truth.loadRes(str(tmp_path / "captions.json"))

    def texts(coco: Any) -> dict[int, list[str]]:
        return {number: [" ".join(caption_words(item["caption"])) for item in coco.imgToAnns[number]] for number in ids}

    ids = ground_truth.getImgIds()
    assert ids == list(range(1, 21))
    wanted = [*Bleu(4).compute_score(texts(ground_truth), texts(found), verbose=0)[0]]
    wanted += [predictor.compute_score(texts(ground_truth), texts(found))[0] for predictor in (Rouge(), Cider())]
    ours = [report.bleu1, report.bleu2, report.bleu3, report.bleu4, report.rouge_l, report.cider_d]
    np.testing.assert_allclose(ours, wanted, rtol=1e-9)
    assert 0.5 <= report.exact < 0.7
    assert [item["caption"] for item in found.dataset["annotations"]] == [text.replace(",", "") for text in sentences]
    page = cv2.imread(str(tmp_path / "captions.jpg"))
    assert page.shape[1] > 1000
    assert page.std() > 20


@pytest.mark.parametrize("images", [1, 2, 5])
def test_few_images_make_a_page(tmp_path: Path, images: int) -> None:
    report, _ = scored(images)
    assert report.images == images
    report.write(tmp_path, SCENES, CONTRACT)
    assert len(json.loads((tmp_path / "captions.json").read_bytes())) == images
    assert cv2.imread(str(tmp_path / "captions.jpg")) is not None


def image(cider: float, rouge: float = 0.5) -> ScoredImage:
    return ScoredImage(
        0, "a red dog", ("a cat", "a big red dog", "the red dog"), ImageScores((0,) * 4, rouge, cider, False)
    )


def test_the_worst_and_the_best() -> None:
    images = [image(score) for score in (3.0, 1.0, 2.0, 5.0, 4.0)]
    low, high = worst_and_best(images, each=2)
    assert [item.scores.cider_d for item in low] == [1.0, 2.0]
    assert [item.scores.cider_d for item in high] == [5.0, 4.0]
    low, high = worst_and_best(images, EACH)
    assert len(low) + len(high) == 5
    assert worst_and_best([image(0, 0.9), image(0, 0.1)], each=1)[0][0].scores.rouge_l == 0.1
    assert image(0).closest == "a big red dog"


def test_long_captions_are_wrapped() -> None:
    text = "a large red circle left of a small blue square above a large green star"
    lines = wrapped(text, 15, 220, 9)
    assert " ".join(lines) == text
    assert len(lines) > 2
    assert all(text_width(line, 15) <= 220 for line in lines)
    assert len(wrapped(text, 15, 220, 2)) == 2
    assert wrapped(text, 15, 220, 2)[-1].endswith("…")
    assert wrapped("", 15, 220, 2) == []
    assert wrapped("一只狗" * 30, 15, 220, 2)[0].endswith("…")
