"""Images cut short or with wrong bytes: one ImageError, never a half image, a crash or gigabytes."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cvserve.errors import ImageError
from cvserve.preproc import decode

IMAGE = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC
)


def encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(IMAGE).convert(mode).save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


HEALTHY = {
    "jpeg": encoded("JPEG"),
    "jpeg-gray": encoded("JPEG", "L"),
    "jpeg-progressive": encoded("JPEG", progressive=True),
    "jpeg-restart": cv2.imencode(".jpg", IMAGE, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes(),
    "png": encoded("PNG"),
    "png-palette": encoded("PNG", "P"),
    "webp": encoded("WEBP"),
    "webp-lossless": encoded("WEBP", lossless=True),
    "bmp": encoded("BMP"),
    "bmp-palette": encoded("BMP", "P"),
    "tiff": encoded("TIFF"),
    "tiff-lzw": encoded("TIFF", compression="tiff_lzw"),
    "tiff-deflate": encoded("TIFF", compression="tiff_adobe_deflate"),
    "tiff-jpeg": encoded("TIFF", compression="jpeg"),
    "gif": encoded("GIF", "P"),
    "gif-animated": encoded("GIF", "P", save_all=True, append_images=[Image.new("P", (64, 48))]),
}


@pytest.mark.parametrize("name", [name for name in HEALTHY if name != "gif-animated"])
def test_an_image_that_ends_early_is_an_error_wherever_it_ends(name: str) -> None:
    data = HEALTHY[name]
    step = max(1, len(data) // 150)
    for end in sorted({*range(0, len(data), step), *range(max(0, len(data) - 20), len(data))}):
        with pytest.raises(ImageError):
            decode(data[:end])


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["jpeg", "jpeg-progressive", "png", "tiff-lzw", "gif"])
def test_a_download_whose_rest_is_zeros_is_an_error(name: str, share: float) -> None:
    data = HEALTHY[name]
    kept = int(len(data) * share)
    # (WebP has neither checksum nor end mark: zeros are as good an image as any.)
    with pytest.raises(ImageError):
        decode(data[:kept] + bytes(len(data) - kept))


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("trailing", [b"\0", bytes(1000), b"junk" * 100, b"\xff\xd8\xff"])
def test_bytes_after_the_end_are_no_fault(name: str, trailing: bytes) -> None:
    assert np.array_equal(decode(HEALTHY[name] + trailing), decode(HEALTHY[name]))


def test_the_error_names_the_image_and_the_reason() -> None:
    with pytest.raises(ImageError) as error:
        decode(HEALTHY["jpeg"][:-400], name="cat.jpg")
    assert str(error.value) == "cat.jpg: is a damaged JPEG: it ends before its end marker"
    png = bytearray(HEALTHY["png"])
    png[len(png) // 2] ^= 255
    with pytest.raises(ImageError, match=r"^dog\.png: is a damaged or truncated PNG"):
        decode(bytes(png), name="dog.png")


# Run apart, since what it looks for would end this process too.
WRONG_BYTES = """
import random, sys, time
from pathlib import Path
from cvserve.artifact import PreprocSpec
from cvserve.errors import ImageError
from cvserve.preproc import preprocess

spec, generator = PreprocSpec(height=32, width=32), random.Random(7)
decoded = refused = 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    healthy = path.read_bytes()
    for _ in range(60):
        data = bytearray(healthy)
        for _ in range(generator.choice((1, 1, 2, 5))):
            at = generator.randrange(len(data) if generator.random() < 0.4 else min(len(data), 200))
            data[at] = generator.choice((0, 255, generator.randrange(256), data[at] ^ 1 << generator.randrange(8)))
        started = time.process_time()
        try:
            pixels, _ = preprocess(bytes(data), spec, name=path.name, max_pixels=2_000_000)
            assert pixels.shape == (32, 32, 3)
            decoded += 1
        except ImageError as error:
            assert str(error).startswith(path.name + ": ") and "\\n" not in str(error), error
            refused += 1
        assert time.process_time() - started < 10, path
# Not ru_maxrss, which a child begins with its parent's.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(decoded, refused, int(peak.split()[1]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is in kilobytes on Linux only")
def test_wrong_bytes_anywhere_neither_crash_nor_take_memory(tmp_path: Path) -> None:
    for name, data in HEALTHY.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", WRONG_BYTES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    decoded, refused, megabytes = map(int, done.stdout.split())
    assert decoded > 100
    assert refused > 100
    assert megabytes < 400
