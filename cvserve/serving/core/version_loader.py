"""From a version on disk to a servable: opened on a thread of its own, then given its queue and workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cvserve.extras import telling
from cvserve.serving.core.decode_pool import DecodePool
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.loop_callbacks import LoopCallbacks
from cvserve.serving.core.observer import Observer
from cvserve.serving.core.repository import ModelVersion
from cvserve.serving.core.scheduling import lower_priority
from cvserve.serving.core.servable import Servable
from cvserve.serving.core.settings import EngineSettings, ModelSettings
from cvserve.serving.core.thread_names import GRAPHS, name_thread
from cvserve.serving.core.without_manifest import check_complete

LoadModel = Callable[[Path, ModelSettings], LoadedModel]
"""Opens and warms the model in a version's directory, as `loading.load` does."""


@dataclass(frozen=True)
class VersionLoader:
    """Loads versions for the `Manager`. Called on the loop's thread.

    Attributes:
        load_model: opens a version's directory; replaced in tests.
        settings: of the models.
        decode: where images are decoded that the workers do not decode.
        callbacks: the workers' way back to the loop.
        observer: gets the seconds that loading took, and what happens to requests.
        on_import: is called when a model has imported a library, before the library is used.
    """

    load_model: LoadModel
    settings: EngineSettings
    decode: DecodePool
    callbacks: LoopCallbacks
    observer: Observer
    on_import: Callable[[], None] = lambda: None

    async def __call__(self, source: ModelVersion) -> Servable:
        """Returns the version, ready to answer.

        Raises:
            CvserveError: it cannot be loaded.
        """
        settings = source.settings or self.settings.of_model(source.name)
        began = time.monotonic()
        # A thread of its own: one that has given way stays so.
        thread = ThreadPoolExecutor(1, "load")
        try:
            model = await asyncio.get_running_loop().run_in_executor(thread, self._open, source, settings)
        finally:
            thread.shutdown(wait=False)
        self.observer.loaded(source.name, source.version, time.monotonic() - began)
        return Servable(
            source.name,
            source.version,
            model,
            self.decode,
            self.callbacks,
            self.observer,
            settings.max_pixels,
            self.settings.graph_nice,
        )

    def _open(self, source: ModelVersion, settings: ModelSettings) -> LoadedModel:
        if not source.explicitly_requested:
            check_complete(source.directory)
        # Threads that a runtime starts here run its graphs.
        name_thread(f"{GRAPHS}{source.name}")
        lower_priority(self.settings.graph_nice)
        with telling(self.on_import):
            return self.load_model(source.directory, settings)
