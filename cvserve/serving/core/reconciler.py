"""Makes the served versions match the wanted ones, which follow from the disk, the policies, and requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cvserve.errors import CvserveError, FailedPrecondition, InvalidInput, NotFound, Unavailable
from cvserve.serving.core.background import BackgroundTasks, in_thread, wait_for_all
from cvserve.serving.core.desired_state import DesiredModel
from cvserve.serving.core.manager import Manager, State, VersionStatus
from cvserve.serving.core.repository import (
    Repository,
    check_inside,
    completed,
    fingerprint,
    readable_versions,
    versions_in,
    versions_in_each,
)
from cvserve.serving.core.settings import EngineSettings, ModelConfig, check_configs
from cvserve.serving.core.version_policy import Known, fallback_versions, may_retry, plan

_LOG = logging.getLogger(__name__)

Unloading = asyncio.Future[None]
"""A future that is done when the requests on a version are answered and its memory is freed."""


class Reconciler:
    """Loads and unloads versions through the manager until the served versions are the wanted ones.

    A new version is loaded and warmed before an old one is unloaded; one that cannot be loaded stays in the status with
    its error and is tried again, while the old one answers. Models are independent of each other, but loading takes
    turns, since it uses all cores. Used from the loop's thread only; the disk is read on other threads.

    A change is finished even when its caller gives up waiting, so that nothing is left half done.
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
            manager: loads, replaces and unloads.
            settings: when a version that failed is tried again, and which paths and labels requests may give.
            repository: the directory that is checked for new and removed models, and where `load` finds models that are
                not served.
            roots: the directories that a request's paths must lie in, beside the settings' model_roots; None: anywhere.
            clock: returns seconds; by default the loop's time.
        """
        self._manager = manager
        self._settings = settings
        self._repository = repository
        self._roots = None if roots is None else [*roots, *settings.model_roots]
        self._clock = clock or asyncio.get_running_loop().time
        self._models: dict[str, DesiredModel] = {}
        self._tasks = BackgroundTasks()
        self._load_lock = asyncio.Lock()
        self._listed = repository is None
        self._closed = False
        # The last logged problem with reading each model's directory; under the name "", the repository's.
        self._logged_problems: dict[str, str] = {}

    @property
    def loading(self) -> bool:
        """Is true while a model is being loaded."""
        return self._load_lock.locked()

    def version_of(self, name: str, label: str) -> int:
        """Returns the version that a label stands for.

        Raises:
            InvalidInput: there is no such label, in TensorFlow Serving's words.
        """
        model = self._models.get(name)
        version = None if model is None else model.config.labels.get(label)
        if version is None:
            raise InvalidInput(f"Unrecognized servable version label: {label}")
        return version

    def labels_of(self, name: str, version: int) -> list[str]:
        """Returns the labels of a version, sorted."""
        model = self._models.get(name)
        return sorted(label for label, number in (model.config.labels if model else {}).items() if number == version)

    @property
    def is_empty_on_purpose(self) -> bool:
        """Is true when a list of models was given and is empty. A repository without models is not empty on purpose."""
        return not self.names() and (self._listed or self._repository is None)

    def names(self) -> list[str]:
        """Returns the models that are to be served, sorted."""
        return sorted(name for name, model in self._models.items() if not model.delisted)

    # ---- requests

    async def announce(self, configs: Sequence[ModelConfig]) -> None:
        """Adds the first models without loading them, so that requests are refused with "still loading" rather than
        "not found". Called before any request can come."""
        check_configs(configs)
        for config in configs:
            self._models[config.name] = model = DesiredModel(config)
            with contextlib.suppress(OSError, CvserveError):  # loading reports it
                on_disk = await in_thread(versions_in, config.base_path)
                for version in model.versions(on_disk):
                    self._manager.announce(model.source(version, on_disk[version]))

    async def start(self, configs: Sequence[ModelConfig] = ()) -> None:
        """Loads the first models: those that were announced and `configs`. Labels may name versions that this loads.
        Failures are in the status."""
        await self.announce(configs)
        for model in list(self._models.values()):
            await self._tasks.finish(self._reconcile(model))
            for label, version in model.config.labels.items():
                if version not in self._manager.available(model.name):
                    _LOG.warning("model %s: label %r names version %d, which is not served", model.name, label, version)

    async def apply(self, configs: Sequence[ModelConfig], *, confined: bool = True) -> None:
        """Serves these models and no others, as HandleReloadConfigRequest does. From now on the repository is not
        followed any more. Returns when all models that can be loaded are loaded and the others are unloaded.

        Args:
            configs: the models.
            confined: whether the paths must lie in the repository. False for the operator's own file, whose directories
                requests may name from then on.

        Raises, before anything has changed:
            InvalidInput: a name twice, a path that is relative or leads out of the repository.
            NotFound: no version there.
            FailedPrecondition: a label for a version that is not available.
        Raises, afterwards:
            CvserveError: models of which no version could be loaded. They are tried again.
        """
        self._check_open()
        check_configs(configs)
        for config in configs:
            if confined:
                check_inside(config.base_path, self._roots, f"model {config.name!r}")
            await in_thread(readable_versions, config)
        self._check_labels(configs)
        self._check_open()
        self._listed = True
        if self._roots is not None and not confined:
            self._roots = list(dict.fromkeys([*self._roots, *(config.base_path.parent for config in configs)]))
        listed = {config.name: config for config in configs}
        delisted = [model for name, model in self._models.items() if name not in listed]
        for model in delisted:
            model.delisted = True
        for name, config in listed.items():
            self._models.setdefault(name, DesiredModel(config)).configure(config, self._manager.available(name))
        changed = [self._models[name] for name in listed]
        await self._tasks.finish(wait_for_all([self._reconcile(model) for model in (*delisted, *changed)]))
        self._check_served(listed)

    async def load(self, name: str, version: int | None = None) -> None:
        """Serves a model, or one more version of it whatever its policy, and returns when it answers.

        Args:
            name: the name of the model.
            version: None makes the model follow its policy again; earlier requests to load or unload are forgotten.

        Raises:
            InvalidInput: a name or a link that leads out of the repository. NotFound: not there.
            CvserveError: it cannot be loaded. It is tried again as long as it is wanted.
        """
        self._check_open()
        model = await self._known_or_found(name)
        on_disk = await in_thread(readable_versions, model.config)
        if version is None:
            model.follow_policy()
        elif version not in on_disk:
            raise NotFound(f"Could not find version {version} of model {name}")
        else:
            check_inside(on_disk[version], self._roots, f"model {name!r} version {version}")
            model.pin(version)
        model.delisted = False
        self._models[name] = model
        await self._tasks.finish(self._reconcile(model))
        self._check_loaded(model, on_disk, [version] if version is not None else model.versions(on_disk))

    async def unload(self, name: str, version: int | None = None) -> None:
        """Stops serving a model, or one version of it, until it is requested again; returns when the requests that
        use it are answered and its memory is freed. Where the policy has another version to serve instead, that
        one is loaded first.

        Raises:
            NotFound: it is not served.
        """
        self._check_open()
        model = self._models.get(name)
        if model is None or model.delisted:
            raise NotFound(f"Could not find any versions of model {name}")
        if version is None:
            model.unloaded = True
            model.pinned.clear()
        else:
            [status] = self._manager.status(name, version)
            if status.state is State.END and status.error is None:
                raise NotFound(f"model {name!r} has no available version {version} to unload")
            model.exclude(version)
        await self._tasks.finish(self._reconcile(model))

    async def reload(self, name: str) -> None:
        """Loads the versions of a model again from disk, also those whose number is the same; the old ones answer until
        the new ones can. Earlier requests to load or unload are forgotten.

        Raises:
            NotFound: not there. CvserveError: it cannot be loaded; the old one stays.
        """
        self._check_open()
        model = await self._known_or_found(name)
        on_disk = await in_thread(readable_versions, model.config)
        self._models[name] = model
        model.delisted = False
        model.follow_policy()
        model.stale = set(self._manager.available(name))
        wanted = model.versions(on_disk)
        await self._tasks.finish(self._reconcile(model))
        self._check_loaded(model, on_disk, wanted)
        for number in wanted:
            if number in model.stale and number in model.errors:
                raise model.errors[number]

    async def poll(self) -> None:
        """Checks the disk once, and returns when all changes that follow from it are done."""
        await self._tasks.finish(wait_for_all([self._reconcile(model) for model in await self._check_disk()]))

    async def begin_poll(self) -> None:
        """Checks the disk once and starts the changes that follow, without waiting. Models that are being changed are
        skipped."""
        for model in await self._check_disk():
            if not model.busy.locked():
                self._tasks.start(self._reconcile(model))

    def refuse(self) -> None:
        """Refuses all further changes."""
        self._closed = True

    async def close(self) -> None:
        """Refuses all further changes, and waits for versions that are being unloaded (not for those being loaded)."""
        self.refuse()
        if not self.loading:
            await self._tasks.wait()

    # ---- checks of requests

    def _check_open(self) -> None:
        if self._closed:
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
        """Checks, after `apply`, that every model has a version that answers."""
        failed: dict[str, CvserveError] = {}
        for name in listed:
            if not self._manager.available(name) and name in self._models:
                errors = [status.error for status in self._statuses(name) if status.error is not None]
                failed[name] = errors[-1] if errors else NotFound("none of its versions is wanted and on disk")
        if failed:
            why = "; ".join(f"{name}: {error}" for name, error in failed.items())
            first = next(iter(failed.values()))
            kind = type(first) if type(first) in (NotFound, FailedPrecondition) else FailedPrecondition
            raise kind(f"{len(failed)} servable(s) did not become available: {why}")

    def _check_loaded(self, model: DesiredModel, on_disk: Mapping[int, Path], wanted: Sequence[int]) -> None:
        """Checks, after `load`, that the requested versions answer."""
        name = model.name
        if not wanted:
            raise NotFound(f"model {name!r} has no version on disk that its policy wants; it has {list(on_disk)}")
        available = self._manager.available(name)
        for status in self._statuses(name):
            if status.version in wanted and status.version not in available:
                raise status.error or Unavailable(f"model {name!r} version {status.version} was not loaded; try again")

    def _statuses(self, name: str) -> list[VersionStatus]:
        return [status for status in self._manager.all_status() if status.name == name]

    # ---- the disk

    async def _known_or_found(self, name: str) -> DesiredModel:
        """Returns the model, also one that is in the repository but not served."""
        model = self._models.get(name)
        if model is not None and not model.delisted:
            return model
        if self._repository is None:
            raise NotFound(f"Could not find any versions of model {name}")
        config = await in_thread(self._repository.config, name)
        check_inside(config.base_path, self._roots, f"model {name!r}")
        # A model that is still being unloaded keeps its lock.
        model = self._models.get(name) or DesiredModel(config)
        model.config = config
        return model

    async def _check_disk(self) -> list[DesiredModel]:
        """Checks the disk, and returns the models that may need work."""
        if self._repository is not None and not self._listed:
            try:
                names = await in_thread(self._repository.names, self.names())
                new = [self._repository.config(name) for name in names if name not in self._models]
            except (OSError, CvserveError) as error:
                self._log_problem("", f"the model repository cannot be read: {error}")
                return []
            self._logged_problems.pop("", None)
            # A list that was given meanwhile takes precedence.
            if not self._listed:
                self._follow_repository(names, new)
        paths = {name: model.config.base_path for name, model in self._models.items()}
        on_disk = await in_thread(versions_in_each, paths)
        # Versions that were copied so slowly that they were loaded before their manifest was there.
        without_manifest = {name: self._manager.without_manifest(name) for name in self._models}
        for name, numbers in (await in_thread(completed, without_manifest)).items():
            if name in self._models:
                # Some may have been loaded again meanwhile.
                self._models[name].stale.update(self._manager.without_manifest(name).keys() & set(numbers))
        return [
            model
            for name, model in self._models.items()
            if model.may_need_work(on_disk.get(name), self._manager.available(name))
        ]

    def _follow_repository(self, names: Sequence[str], new: Sequence[ModelConfig]) -> None:
        """Adds the models that are new in the repository, and delists those that were removed from it."""
        for config in new:
            self._models.setdefault(config.name, DesiredModel(config))
        for name, model in self._models.items():
            if name not in names:
                model.delisted = True
            elif model.delisted:
                model.delisted = False
                model.follow_policy()

    def _log_problem(self, about: str, text: str) -> None:
        """Logs a problem once, not at every check of the disk."""
        if self._logged_problems.get(about) != text:
            self._logged_problems[about] = text
            _LOG.error("%s", text)

    # ---- one model

    async def _reconcile(self, model: DesiredModel) -> None:
        """Makes the served versions of a model match the wanted ones, one change at a time; returns when the others are
        unloaded. A failure to load is in the version's status; it is tried again at a later check of the disk."""
        async with model.busy:
            unloading = await self._change(model)
        if unloading:
            # Without the lock, since a request may use the old version for long.
            await asyncio.wait(unloading)
        if model.delisted and not model.busy.locked() and self._models.get(model.name) is model:
            del self._models[model.name]

    async def _change(self, model: DesiredModel) -> list[Unloading]:
        path = model.config.base_path
        on_disk: dict[int, Path] = {}
        if not model.delisted:
            try:
                on_disk = await in_thread(versions_in, path)
            except (OSError, CvserveError) as error:
                self._log_problem(
                    model.name, f"model {model.name!r} stays as it is, since {path} cannot be read: {error}"
                )
                return []
            self._logged_problems.pop(model.name, None)
        wanted = model.versions(on_disk)
        step = plan(wanted, await self._known(model, on_disk))
        for version in step.load:
            self._manager.announce(model.source(version, on_disk[version]))
        for version in step.load:
            if not self._closed and version in model.versions(on_disk):
                await self._load(model, version, on_disk[version])
        await self._load_fallback(model, on_disk)
        unloading: list[Unloading] = []
        served = {*wanted, *self._manager.available(model.name)}
        for version in sorted(model.stale & served & on_disk.keys(), reverse=True):
            if not self._closed and await self._may_try(model, version, on_disk[version]):
                unloading += await self._load_again(model, version, on_disk[version])
        return unloading + self._unload_unwanted(model, on_disk)

    async def _load_fallback(self, model: DesiredModel, on_disk: Mapping[int, Path]) -> None:
        """Loads an older version where a version is wanted but none answers."""
        wanted = model.versions(on_disk)
        if not wanted or model.unloaded:
            return
        for version in fallback_versions(model.config.policy, on_disk.keys() - model.excluded, wanted):
            if self._closed or self._manager.available(model.name):
                return
            if await self._may_try(model, version, on_disk[version]):
                _LOG.warning(
                    "model %s: version %d is served instead of %s, which cannot be loaded", model.name, version, wanted
                )
                await self._load(model, version, on_disk[version])

    def _unload_unwanted(self, model: DesiredModel, on_disk: Mapping[int, Path]) -> list[Unloading]:
        """Unloads the versions that may be unloaded now. The plan is made again, since a request may have changed what
        is wanted while a version was loaded."""
        wanted = model.versions(on_disk)
        available = self._manager.available(model.name)
        known = {version: Known() for version in wanted} | {version: Known(available=True) for version in available}
        unloading = []
        for version in plan(wanted, known).unload:
            model.stale.discard(version)
            unloading.append(self._tasks.keep(self._manager.retire(model.name, version)))
        served = not wanted or not set(wanted).isdisjoint(self._manager.available(model.name))
        for status in self._statuses(model.name):
            # Failures are remembered as long as the version might be tried again.
            over = served or status.version not in on_disk
            if over and status.version not in wanted and status.state is not State.UNLOADING:
                model.failures.pop(status.version, None)
                if status.error is not None or status.state is State.START:
                    self._manager.forget(model.name, status.version)
        return unloading

    async def _known(self, model: DesiredModel, on_disk: Mapping[int, Path]) -> dict[int, Known]:
        known = {version: Known(available=True) for version in self._manager.available(model.name)}
        for version in list(model.failures):
            if version not in known and version in on_disk:
                known[version] = Known(may_retry=await self._may_try(model, version, on_disk[version]))
        return known

    async def _may_try(self, model: DesiredModel, version: int, directory: Path) -> bool:
        """Returns whether a version has not failed yet, or it is time to try it again."""
        failure = model.failures.get(version)
        if failure is None:
            return True
        files = await in_thread(fingerprint, directory)
        every, retries = self._settings.load_retry_seconds, self._settings.max_load_retries
        return may_retry(failure, files, self._clock(), every=every, retries=retries)

    async def _load(self, model: DesiredModel, version: int, directory: Path) -> None:
        async with self._load_lock:
            # Taken before the files are read, so that a file that is added meanwhile counts as a change.
            files = await in_thread(fingerprint, directory)
            status = await self._manager.load(model.source(version, directory))
        if status.state is State.AVAILABLE:
            model.succeeded(version)
        else:
            model.failed(version, files, status.error, self._clock())

    async def _load_again(self, model: DesiredModel, version: int, directory: Path) -> list[Unloading]:
        async with self._load_lock:
            files = await in_thread(fingerprint, directory)
            try:
                unloading = await self._manager.replace(model.source(version, directory))
            except CvserveError as error:
                _LOG.error("model %s version %d stays as it was: %s", model.name, version, error)
                model.failed(version, files, error, self._clock())
                return []
        model.stale.discard(version)
        model.succeeded(version)
        return [self._tasks.keep(unloading)]
