"""Converts images to typed results, for `cvserve.load`, `predict`, evaluation and the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvserve import artifact as artifacts
from cvserve.artifact import Artifact
from cvserve.errors import InvalidInput
from cvserve.postproc import DEFAULT_OPTIONS, Options, Result, decode_outputs
from cvserve.preproc import Geometry, ImageSource, encode_input, preprocess
from cvserve.preproc.decode import MAX_PIXELS
from cvserve.runtimes import Runtime, open_runtime


@dataclass(frozen=True)
class Prepared:
    """Holds a prepared image. pixels: uint8 RGB [height, width, 3], in the size of the manifest's PreprocSpec."""

    pixels: np.ndarray
    geometry: Geometry


class Pipeline:
    """Runs preprocessing, the graph and postprocessing of one artifact.

    Calling the pipeline runs all three steps. They can also be called one by one, as the server does. It is thread-safe
    if its runtime is.

    Example:
        pipeline = cvserve.load("models/flowers")
        for result in pipeline(["daisy.jpg", "rose.jpg"]):
            print(result.best.label, result.best.score)
    """

    def __init__(self, artifact: Artifact, runtime: Runtime) -> None:
        self.artifact = artifact
        self.manifest = artifact.manifest
        self.runtime = runtime

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        version: int | None = None,
        runtime: str = "auto",
        threads: int | None = None,
        precision: str | None = None,
        device: str = "cpu",
    ) -> Pipeline:
        """Opens the artifact at `path` (a model's directory, of which the newest version counts, or a version's).

        Args:
            runtime: "auto" (the fastest here whose parity holds), "tensorflow", "onnx" or "litert".
            threads: CPU threads of the runtime; None lets it take every core.
            precision: only graphs of this precision ("float32", "float16", "int8"); None takes any usable one.
            device: "cpu" or "gpu:N".

        Raises:
            NotFound, ArtifactError, MissingExtra
            FailedPrecondition: no such device, or nothing installed that can use it.
        """
        artifact = artifacts.read(path, version)
        return cls(
            artifact, open_runtime(artifact, runtime=runtime, threads=threads, precision=precision, device=device)
        )

    def prepare(self, source: ImageSource, name: str | None = None, *, max_pixels: int = MAX_PIXELS) -> Prepared:
        """Decodes and resizes one image.

        Args:
            source: a path, encoded bytes, or a uint8 array [H, W], [H, W, 3] (RGB) or [H, W, 4].
            name: what errors call it; by default the path, or "image".
            max_pixels: encoded images with more are refused before they are decoded.

        Raises:
            ImageError: the image cannot be used.
        """
        pixels, geometry = preprocess(source, self.manifest.preproc, name=name, max_pixels=max_pixels)
        return Prepared(pixels, geometry)

    def encode(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Converts uint8 pixels [B, H, W, 3] to the graph's input, by name."""
        return {self.manifest.input.name: encode_input(pixels, self.manifest.input)}

    def finish(
        self,
        outputs: dict[str, np.ndarray],
        geometries: Sequence[Geometry],
        options: Options = DEFAULT_OPTIONS,
    ) -> list[Result]:
        """Converts the graph's outputs [B, ...] to one typed result for each image; see `decode_outputs`."""
        return decode_outputs(outputs, geometries, self.manifest, options)

    def run(self, prepared: Sequence[Prepared], options: Options = DEFAULT_OPTIONS) -> list[Result]:
        """Returns the results of prepared images, run as one batch."""
        if not prepared:
            return []
        outputs = self.runtime.run(self.encode(np.stack([item.pixels for item in prepared])))
        geometries = [item.geometry for item in prepared]
        return self.finish(outputs, geometries, options)

    def __call__(
        self,
        sources: Sequence[ImageSource] | ImageSource,
        *,
        top_k: int | None = None,
        score_threshold: float | None = None,
        max_results: int | None = None,
        batch_size: int = 8,
    ) -> list[Result]:
        """Returns the results of images, in order.

        Args:
            sources: paths, bytes or arrays; a single one is taken as a list of one.
            top_k: the number of classes of each image (classification).
            score_threshold: the least score of an object, 0 to 1 (detection).
            max_results: the largest number of objects of each image (detection).
            batch_size: images in each call of the graph.

        Raises:
            ImageError: an image cannot be used; the error names the first one.
            InvalidInput: a batch size, top_k or max_results under 1, or a score_threshold that is not from 0 to 1.
        """
        options = Options(top_k, score_threshold, max_results)
        if batch_size < 1:
            raise InvalidInput(f"the batch size must be at least 1, not {batch_size}")
        if isinstance(sources, str | bytes | Path | np.ndarray):
            sources = [sources]
        results: list[Result] = []
        for start in range(0, len(sources), batch_size):
            chunk = sources[start : start + batch_size]
            prepared = [
                self.prepare(source, None if isinstance(source, str | Path) else f"image {start + offset}")
                for offset, source in enumerate(chunk)
            ]
            results += self.run(prepared, options)
        return results

    def close(self) -> None:
        """Releases the graph's memory."""
        self.runtime.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
