"""80 real images, also unusual, damaged and malicious ones: each decodes as with Pillow, or gives one clear error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from cvserve.artifact import PreprocSpec
from cvserve.errors import ImageError
from cvserve.preproc import decode, preprocess, read_header

# Pillow reads these; they are none of the six formats.
OTHER_FORMATS = {"pillow/avif_hopper.avif", "pillow/hopper.ppm"}

EVERY_IMAGE = """
import json, sys, time
from pathlib import Path
from cvserve.artifact import PreprocSpec
from cvserve.errors import ImageError
from cvserve.preproc import preprocess

folder, spec = Path(sys.argv[1]), PreprocSpec(height=224, width=224)
outcomes = {}
for name in json.loads(sys.stdin.read()):
    started = time.process_time()
    try:
        pixels, _ = preprocess(folder / name, spec)
        outcome = list(pixels.shape)
    except ImageError as error:
        outcome = str(error)
    outcomes[name] = [outcome, time.process_time() - started]
# Not ru_maxrss, which a child begins with its parent's.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"outcomes": outcomes, "megabytes": int(peak.split()[1]) / 1024}))
"""


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "data" / "sample_images"


@pytest.fixture(scope="module")
def entries(folder: Path) -> dict[str, dict[str, Any]]:
    return {entry["file"]: entry for entry in json.loads((folder / "manifest.json").read_text())["files"]}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is in kilobytes on Linux only")
def test_each_decodes_or_gives_one_clear_error_in_time_and_memory(
    folder: Path, entries: dict[str, dict[str, Any]]
) -> None:
    command = [sys.executable, "-c", EVERY_IMAGE, str(folder)]
    done = subprocess.run(command, input=json.dumps(list(entries)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["megabytes"] < 1024
    for name, (outcome, seconds) in report["outcomes"].items():
        assert seconds < 10, name
        if entries[name]["pillow"] == "ok" and name not in OTHER_FORMATS:
            assert outcome == [224, 224, 3], (name, outcome)
        else:
            assert isinstance(outcome, str), name
            assert outcome.startswith(f"{folder / name}: is "), outcome
            assert "\n" not in outcome
            assert len(outcome) < len(str(folder / name)) + 160, outcome


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_the_same_pixels_as_pillow(folder: Path, entries: dict[str, dict[str, Any]]) -> None:
    compared = 0
    for name, entry in entries.items():
        if entry["pillow"] != "ok" or name in OTHER_FORMATS:
            continue
        with Image.open(folder / name) as image:
            size = ImageOps.exif_transpose(image).size
            assert read_header((folder / name).read_bytes()).size == size, name
            if image.mode == "I;16":  # which Pillow's convert("RGB") clips instead of scaling
                gray = np.array(image)
                expected = np.repeat(np.rint(gray / 257).astype(np.uint8)[..., None], 3, axis=2)
            else:
                expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
        # CMYK is multiplied with another rounding; of 16 bits Pillow drops the lower eight.
        tolerance = 2 if entry["mode"] == "CMYK" else 1 if entry.get("png_bit_depth") == 16 else 0
        assert cv2.absdiff(decode(folder / name), expected).max() <= tolerance, name
        compared += 1
    assert compared == 58


def test_orientation_examples_are_one_image(folder: Path) -> None:
    # The eight files were encoded apart, so that they agree only nearly.
    landscapes = [decode(folder / f"exif_orientation/Landscape_{number}.jpg") for number in range(1, 9)]
    for image in landscapes:
        assert image.shape == (1200, 1800, 3)
        assert cv2.absdiff(image, landscapes[0]).mean() < 4


def test_bombs_are_refused_by_their_headers(folder: Path) -> None:
    for name in ("decompression_bomb.gif", "decompression_bomb.ico"):
        with pytest.raises(ImageError):
            read_header((folder / "pillow" / name).read_bytes())


def test_a_12_megapixel_photo_is_reduced(folder: Path) -> None:
    path = folder / "camera" / "Issue 525.jpg"
    spec = PreprocSpec(height=224, width=224)
    assert decode(path, reduce_for=spec).shape == (756, 1008, 3)
    _, geometry = preprocess(path, spec)
    assert (geometry.original_width, geometry.original_height) == (4032, 3024)
