"""Which models and versions are to be served, and what is done to get there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from cvserve.errors import CvserveError, FailedPrecondition, InvalidInput, NotFound, Unavailable
from cvserve.serving.core.manager import Manager, State
from cvserve.serving.core.model_config import ModelConfig, check_list
from cvserve.serving.core.reconciler import KeptModel, Surroundings
from cvserve.serving.core.repository import (
    Repository,
    check_inside,
    completed,
    readable_versions,
    versions_in,
    versions_in_each,
)
from cvserve.serving.core.settings import EngineSettings
from cvserve.serving.core.tasks import all_of, in_thread

_LOG = logging.getLogger(__name__)


class Lifecycle:
    """Brings the versions that are served to what is wanted: by the disk, the policies, and requests.

    A new version is loaded and warmed before an old one is let go; one that cannot be loaded stays in the status with
    its error and is tried again, while the old one answers. Models are independent of each other, but loading takes
    turns, since it uses all cores. Used from the loop's thread only; the disk is read on other threads.

    No caller is needed for a change to be finished: one that gives up waiting leaves nothing half done.
    """

    def __init__(
        self,
        manager: Manager,
        settings: EngineSettings,
        *,
        repository: Repository | None = None,
        roots: Sequence[Path] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """
        Args:
            repository: where models come and go by themselves, and where `load` finds those that are not served.
            roots: the directories that a request's paths must lie in, beside the settings' model_roots; None: anywhere.
            clock: seconds; by default the loop's.
        """
        self._manager = manager
        self._settings = settings
        self._repository = repository
        self._roots = None if roots is None else [*roots, *settings.model_roots]
        self._shared = Surroundings(manager, settings, clock or asyncio.get_running_loop().time)
        self._tasks = self._shared.tasks
        self._models: dict[str, KeptModel] = {}
        self._listed = repository is None

    @property
    def loading(self) -> bool:
        """Whether a model is being loaded now."""
        return self._shared.loading.locked()

    def version_of(self, name: str, label: str) -> int:
        """The version that a label stands for.

        Raises:
            InvalidInput: there is no such label, in TensorFlow Serving's words.
        """
        model = self._models.get(name)
        version = None if model is None else model.config.labels.get(label)
        if version is None:
            raise InvalidInput(f"Unrecognized servable version label: {label}")
        return version

    def labels_of(self, name: str, version: int) -> list[str]:
        """The labels of a version, sorted."""
        model = self._models.get(name)
        return sorted(label for label, number in (model.config.labels if model else {}).items() if number == version)

    @property
    def is_empty_on_purpose(self) -> bool:
        """Whether there is to be no model, as a list says: a repository without one has lost them."""
        return not self.names() and (self._listed or self._repository is None)

    def names(self) -> list[str]:
        """The models that are to be served, sorted."""
        return sorted(name for name, model in self._models.items() if not model.left)

    async def announce(self, configs: Sequence[ModelConfig]) -> None:
        """Takes up the first models without loading them: requests are told to wait for them, not that there are none.
        To be called before any request can come."""
        check_list(configs)
        for config in configs:
            self._models[config.name] = model = KeptModel(config, self._shared)
            with contextlib.suppress(OSError, CvserveError):  # loading says so
                model.announce(await in_thread(partial(versions_in, config.base_path)))

    async def start(self, configs: Sequence[ModelConfig] = ()) -> None:
        """Serves the first models, those that were announced and `configs`. Labels may name versions that are loaded by
        this. Failures are in the status."""
        await self.announce(configs)
        for model in list(self._models.values()):
            await self._tasks.finish(self._settle(model))
            for label, version in model.config.labels.items():
                if version not in self._manager.available(model.name):
                    _LOG.warning("model %s: label %r names version %d, which is not served", model.name, label, version)

    async def apply(self, configs: Sequence[ModelConfig], *, confined: bool = True) -> None:
        """Serves these models and no others, as HandleReloadConfigRequest means it; from now on models neither come
        nor go by themselves. Returns when what can be loaded is loaded and the others are unloaded.

        Args:
            confined: whether the paths must lie in the repository; not for the operator's own file, beside whose
                directories requests may name others from then on.

        Raises, before anything has changed:
            InvalidInput: a name twice, a path that is relative or leads out of the repository.
            NotFound: no version there.
            FailedPrecondition: a label for a version that is not available.
        Raises, afterwards:
            CvserveError: models of which no version could be loaded. They are tried again.
        """
        self._check_open()
        check_list(configs)
        for config in configs:
            if confined:
                check_inside(config.base_path, self._roots, f"model {config.name!r}")
            await in_thread(partial(readable_versions, config))
        self._check_labels(configs)
        self._check_open()
        self._listed = True
        if self._roots is not None and not confined:
            self._roots = list(dict.fromkeys([*self._roots, *(config.base_path.parent for config in configs)]))
        listed = {config.name: config for config in configs}
        for name, model in self._models.items():
            if name not in listed:
                model.left = True
        changed = []
        for name, config in listed.items():
            model = self._models.setdefault(name, KeptModel(config, self._shared))
            model.configure(config)
            changed.append(model)
        leaving = [model for name, model in self._models.items() if name not in listed]
        await self._tasks.finish(all_of([self._settle(model) for model in (*leaving, *changed)]))
        self._check_served(listed)

    async def load(self, name: str, version: int | None = None) -> None:
        """Serves a model, or one more version of it whatever its policy, and returns when it answers.

        Args:
            version: None has the model follow its policy again, with everything forgotten that was asked for by hand.

        Raises:
            InvalidInput: a name or a link that leads out of the repository. NotFound: not there.
            CvserveError: it cannot be loaded. It is tried again as long as it is wanted.
        """
        self._check_open()
        model = await self._known_or_found(name)
        found = await in_thread(partial(readable_versions, model.config))
        if version is None:
            model.follow_policy()
        elif version not in found:
            raise NotFound(f"Could not find version {version} of model {name}")
        else:
            check_inside(found[version], self._roots, f"model {name!r} version {version}")
            model.pin(version)
        model.left = False
        self._models[name] = model
        await self._tasks.finish(self._settle(model))
        self._check_loaded(model, found, [version] if version is not None else model.wanted(found))

    async def unload(self, name: str, version: int | None = None) -> None:
        """Stops serving a model, or one version of it, until it is asked for again; returns when the requests that
        had it are answered and its memory is given back. Where the policy has another version to serve instead, that
        one is loaded first.

        Raises:
            NotFound: it is not served.
        """
        self._check_open()
        model = self._models.get(name)
        if model is None or model.left:
            raise NotFound(f"Could not find any versions of model {name}")
        if version is None:
            model.stopped = True
            model.pinned.clear()
        else:
            [status] = self._manager.status(name, version)
            if status.state is State.END and status.error is None:
                raise NotFound(f"model {name!r} has no available version {version} to unload")
            model.hold(version)
        await self._tasks.finish(self._settle(model))

    async def reload(self, name: str) -> None:
        """Loads the versions of a model anew from disk, also those whose number is the same; the old ones answer
        until the new ones can. What was asked for by hand is forgotten.

        Raises:
            NotFound: not there. CvserveError: it cannot be loaded; the old one stays.
        """
        self._check_open()
        model = await self._known_or_found(name)
        found = await in_thread(partial(readable_versions, model.config))
        self._models[name] = model
        model.left = False
        model.follow_policy()
        model.stale = set(self._manager.available(name))
        wanted = model.wanted(found)
        await self._tasks.finish(self._settle(model))
        self._check_loaded(model, found, wanted)
        for number in wanted:
            if number in model.stale and number in model.errors:
                raise model.errors[number]

    async def poll(self) -> None:
        """Looks at the disk once, and returns when what follows from it is done."""
        await self._tasks.finish(all_of([self._settle(model) for model in await self._look()]))

    async def begin_poll(self) -> None:
        """Looks at the disk once without waiting for what follows; models that are being changed are left out."""
        for model in await self._look():
            if not model.is_busy:
                self._tasks.begin(self._settle(model))

    def refuse(self) -> None:
        """Begins nothing any more."""
        self._shared.closed = True

    async def close(self) -> None:
        """Begins nothing any more, and waits for the unloading that is under way (not for what is being loaded)."""
        self.refuse()
        if not self.loading:
            await self._tasks.wait()

    # ---- checks

    def _check_open(self) -> None:
        if self._shared.closed:
            raise Unavailable("the server is shutting down")

    def _check_labels(self, configs: Sequence[ModelConfig]) -> None:
        for config in configs:
            available = self._manager.available(config.name)
            model = self._models.get(config.name)
            for label, version in config.labels.items():
                known = model.config.labels.get(label, version) if model is not None else version
                excused = self._settings.allow_version_labels_for_unavailable_models and known == version
                if version not in available and not excused:
                    raise FailedPrecondition(
                        f"Request to assign label to version {version} of model {config.name}, "
                        "which is not currently available for inference"
                    )

    def _check_served(self, listed: Mapping[str, ModelConfig]) -> None:
        """After `apply`: every model has a version that answers."""
        failed: dict[str, CvserveError] = {}
        for name in listed:
            if not self._manager.available(name) and name in self._models:
                errors = [status.error for status in self._models[name].statuses if status.error is not None]
                failed[name] = errors[-1] if errors else NotFound("none of its versions is wanted and on disk")
        if failed:
            why = "; ".join(f"{name}: {error}" for name, error in failed.items())
            first = next(iter(failed.values()))
            kind = type(first) if type(first) in (NotFound, FailedPrecondition) else FailedPrecondition
            raise kind(f"{len(failed)} servable(s) did not become available: {why}")

    def _check_loaded(self, model: KeptModel, found: Mapping[int, Path], wanted: Sequence[int]) -> None:
        """After `load`: the versions asked for answer."""
        name = model.config.name
        if not wanted:
            raise NotFound(f"model {name!r} has no version on disk that its policy wants; it has {list(found)}")
        available = self._manager.available(name)
        for status in model.statuses:
            if status.version in wanted and status.version not in available:
                raise status.error or Unavailable(f"model {name!r} version {status.version} was not loaded; try again")

    # ---- the disk

    async def _known_or_found(self, name: str) -> KeptModel:
        """The model, also one that is in the repository but not served."""
        model = self._models.get(name)
        if model is not None and not model.left:
            return model
        if self._repository is None:
            raise NotFound(f"Could not find any versions of model {name}")
        config = await in_thread(partial(self._repository.config, name))
        check_inside(config.base_path, self._roots, f"model {name!r}")
        # One that is leaving keeps its lock.
        model = self._models.get(name) or KeptModel(config, self._shared)
        model.config = config
        return model

    async def _look(self) -> list[KeptModel]:
        """Looks at the disk, and says which models are not as they should be."""
        if self._repository is not None and not self._listed:
            try:
                names = await in_thread(partial(self._repository.names, self.names()))
                new = [self._repository.config(name) for name in names if name not in self._models]
            except (OSError, CvserveError) as error:
                self._shared.complain("", f"the model repository cannot be read: {error}")
                return []
            self._shared.complaints.pop("", None)
            # A list that was given meanwhile wins.
            if not self._listed:
                self._take_over(names, new)
        paths = {name: model.config.base_path for name, model in self._models.items()}
        found = await in_thread(partial(versions_in_each, paths))
        # What was copied so slowly that it could be loaded before it was whole.
        made_elsewhere = {name: self._manager.made_elsewhere(name) for name in self._models}
        for name, numbers in (await in_thread(partial(completed, made_elsewhere))).items():
            if name in self._models:
                # Some may have been loaded anew meanwhile.
                self._models[name].stale.update(self._manager.made_elsewhere(name).keys() & set(numbers))
        return [model for name, model in self._models.items() if model.is_due(found.get(name))]

    def _take_over(self, names: Sequence[str], new: Sequence[ModelConfig]) -> None:
        """Models that came to the repository, and those that went."""
        for config in new:
            self._models.setdefault(config.name, KeptModel(config, self._shared))
        for name, model in self._models.items():
            if name not in names:
                model.left = True
            elif model.left:
                model.left = False
                model.follow_policy()

    async def _settle(self, model: KeptModel) -> None:
        await model.settle()
        if model.left and not model.is_busy and self._models.get(model.name) is model:
            del self._models[model.name]
