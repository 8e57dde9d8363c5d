"""A repository on disk with models that are not real, and a reconciler over it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from cvserve.errors import ArtifactError
from cvserve.serving.core.manager import Manager, State
from cvserve.serving.core.reconciler import Reconciler
from cvserve.serving.core.repository import ModelVersion, Repository
from cvserve.serving.core.servable import Servable
from cvserve.serving.core.settings import ModelConfig
from cvserve.serving.settings import ServerSettings


class FakeQueue:
    def close(self) -> None:
        pass


class FakeServable:
    """What the manager touches of a Servable, and what stood in the file."""

    def __init__(self, source: ModelVersion, text: str) -> None:
        self.name, self.version, self.text = source.name, source.version, text
        self.settings = source.settings
        self.manifest = (source.directory / "manifest.json").is_file() or None
        self.queue = FakeQueue()
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Models:
    """A repository in `root`, and a reconciler over it. loads: every try. gates: versions that wait to be loaded."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.loads: list[tuple[str, int]] = []
        self.gates: dict[int, asyncio.Event] = {}
        self.settings = ServerSettings(**settings)
        self.now = 1000.0
        self.manager = Manager(self._load)

    def open(self, **options: Any) -> Reconciler:
        options = {"repository": Repository(self.root, self.settings), "roots": [self.root]} | options
        self.reconciler = Reconciler(self.manager, self.settings, clock=lambda: self.now, **options)
        return self.reconciler

    async def start(self, **options: Any) -> Reconciler:
        reconciler = self.open(**options)
        await reconciler.start(Repository(self.root, self.settings).configs())
        return reconciler

    async def _load(self, source: ModelVersion) -> Servable:
        self.loads.append((source.name, source.version))
        if source.version in self.gates:
            await self.gates[source.version].wait()
        file = source.directory / "model"
        if not file.is_file():
            raise ArtifactError(f"{source.directory} is incomplete")
        if (text := file.read_text()) == "broken":
            raise ArtifactError(f"{file} is broken")
        return cast(Servable, FakeServable(source, text))

    def put(self, version: int, text: str = "good", name: str = "m") -> Path:
        """Publishes a version, whole, by a rename."""
        staging = self.root / name / ".staging"
        staging.mkdir(parents=True)
        (staging / "model").write_text(text)
        return staging.rename(self.root / name / str(version))

    def remove(self, version: int, name: str = "m") -> None:
        directory = self.root / name / str(version)
        (directory / "model").unlink(missing_ok=True)
        directory.rmdir()

    def live(self, name: str = "m") -> list[int]:
        return self.manager.available(name)

    def state(self, version: int, name: str = "m") -> tuple[State, str | None]:
        [status] = self.manager.status(name, version)
        return status.state, None if status.error is None else str(status.error)

    def answer(self, version: int | None = None, name: str = "m") -> str:
        with self.manager.acquire(name, version) as servable:
            return cast(FakeServable, servable).text


def config(models: Models, name: str = "m", **values: Any) -> ModelConfig:
    return ModelConfig(name, values.pop("base_path", models.root / name), **values)
