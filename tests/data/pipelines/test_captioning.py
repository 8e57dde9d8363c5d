"""Batches of images with captions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvserve.artifact import PreprocSpec
from cvserve.data import Augmentation, CaptionPipeline, Scenes, all_captions, open_dataset
from cvserve.data.pipelines.captioning import AUGMENTATION
from cvserve.errors import InvalidInput
from cvserve.preproc import preprocess
from cvserve.text import Tokenizer, learn_vocabulary

SPEC = PreprocSpec(height=32, width=32, resize="exact")
SCENES = Scenes(12, task="captioning", image_size=32)
TOKENIZER = Tokenizer(learn_vocabulary(all_captions(SCENES), min_count=1))


def made(**options: Any) -> CaptionPipeline:
    return CaptionPipeline(SCENES, SPEC, TOKENIZER, **{"batch_size": 5, "workers": 2} | options)


def everything(pipeline: CaptionPipeline, epoch: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices, images and tokens of an epoch."""
    indices, batches = zip(*pipeline.indexed(epoch), strict=True)
    return np.concatenate(indices), *(np.concatenate(part) for part in zip(*batches, strict=True))  # type: ignore[return-value]


def plain(index: int) -> str:
    return SCENES.captions(index)[0].replace(",", "")


def test_first_captions_in_order_as_they_are_served() -> None:
    indices, images, tokens = everything(made(captions="first"))
    assert indices.tolist() == list(range(12))
    assert tokens.dtype == np.int32
    assert tokens.shape == (12, TOKENIZER.length)
    for index in range(12):
        np.testing.assert_array_equal(images[index], preprocess(SCENES.image(index), SPEC)[0])
        assert TOKENIZER.decode(tokens[index]) == plain(index)


def test_one_caption_is_drawn_for_each_epoch() -> None:
    pipeline = made(shuffle=True, seed=3)
    seen: dict[int, set[str]] = {index: set() for index in range(12)}
    for epoch in range(40):
        indices, _, tokens = everything(pipeline, epoch)
        assert sorted(indices.tolist()) == list(range(12))
        for index, ids in zip(indices.tolist(), tokens, strict=True):
            seen[index].add(TOKENIZER.decode(ids))
    for index, sentences in seen.items():
        assert sentences == {text.replace(",", "") for text in SCENES.captions(index)}


def test_all_captions_are_in_an_epoch() -> None:
    wanted = sorted((index, text.replace(",", "")) for index in range(12) for text in SCENES.captions(index))
    for shuffle in (False, True):
        pipeline = made(captions="all", shuffle=shuffle)
        indices, images, tokens = everything(pipeline)
        assert pipeline.steps == -(-len(wanted) // 5)
        assert len(pipeline) == 12
        rows = [(index, TOKENIZER.decode(ids)) for index, ids in zip(indices.tolist(), tokens, strict=True)]
        assert sorted(rows) == wanted
        assert (rows == wanted) is False or not shuffle
        for index, pixels in zip(indices.tolist(), images, strict=True):
            np.testing.assert_array_equal(pixels, preprocess(SCENES.image(index), SPEC)[0])


@pytest.mark.parametrize("captions", ["drawn", "all"])
def test_seed_and_epoch_decide_everything(captions: Any) -> None:
    options: dict[str, Any] = {"captions": captions, "shuffle": True, "augmentation": AUGMENTATION}
    one = everything(made(**options, workers=1, cache_bytes=0), epoch=2)
    other = everything(made(**options, workers=4), epoch=2)
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(one[1], everything(made(**options, seed=1), epoch=2)[1])
    assert not np.array_equal(one[0], everything(made(**options), epoch=3)[0])


def test_the_usual_augmentation_leaves_captions_true() -> None:
    assert AUGMENTATION.flip == AUGMENTATION.vertical_flip == AUGMENTATION.hue == 0
    assert AUGMENTATION.crop_scale is not None
    assert AUGMENTATION.crop_scale[0] >= 0.8


def test_mirrored_images_with_left_and_right_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "cvserve.data.pipelines.captioning"):
        made(augmentation=Augmentation(flip=0.5))
        assert "say left or right, such as" in caplog.text
        caplog.clear()
        made(augmentation=AUGMENTATION)
        assert caplog.text == ""


def test_tensorflow_sees_the_same() -> None:
    pytest.importorskip("tensorflow")
    pipeline = made(captions="all", shuffle=True)
    images, tokens = (np.concatenate(part) for part in zip(*pipeline.batches(1), strict=True))
    _, wanted_images, wanted_tokens = everything(pipeline, 1)
    np.testing.assert_array_equal(images, wanted_images)
    np.testing.assert_array_equal(tokens, wanted_tokens)


def test_damaged_images_are_left_out_with_their_captions(tmp_path: Path) -> None:
    rows = ["image,caption"]
    for number in range(6):
        rows += [f"{number}.png,image {number}", f"{number}.png,number {number}"]
        (tmp_path / f"{number}.png").write_bytes(b"no image" if number == 2 else PNG)
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    source = open_dataset(tmp_path, "all", task="captioning")
    tokenizer = Tokenizer(learn_vocabulary(all_captions(source), min_count=1))
    for captions, each in (("drawn", 1), ("all", 2)):
        pipeline = CaptionPipeline(source, SPEC, tokenizer, batch_size=4, captions=captions)  # type: ignore[arg-type]
        assert [item.index for item in pipeline.bad] == [2]
        indices, _, tokens = everything(pipeline)
        assert indices.tolist() == [number for number in (0, 1, 3, 4, 5) for _ in range(each)]
        assert all(str(number) in tokenizer.decode(ids) for number, ids in zip(indices, tokens, strict=True))


def test_invalid_options_are_refused() -> None:
    with pytest.raises(InvalidInput, match="drawn, first or all, not 'best'"):
        made(captions="best")
    with pytest.raises(InvalidInput, match="make no batch of 13"):
        made(batch_size=13, drop_remainder=True)


def _png() -> bytes:
    import cv2

    return cv2.imencode(".png", np.full((4, 4, 3), 9, np.uint8))[1].tobytes()


PNG = _png()
