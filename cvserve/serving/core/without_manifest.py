"""Models without a manifest: any SavedModel and any TFLite file, served under their own signatures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvserve.artifact.manifest import FILE_NAME
from cvserve.errors import ArtifactError, NotFound
from cvserve.runtimes.base import Runtime
from cvserve.runtimes.device import usable_cores
from cvserve.runtimes.instances import CONCURRENT, instance_plan
from cvserve.serving.core.batching.execution import Entries, RunGraph
from cvserve.serving.core.batching.policy import BatchLimits
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.repository import SAVED_MODEL_FILES, manifest_before
from cvserve.serving.core.settings import ModelSettings
from cvserve.serving.core.signatures import DEFAULT, Signature, open_batch

if TYPE_CHECKING:
    from cvserve.runtimes.session import SessionEntry

WarmUp = Callable[[Path, Mapping[str, Signature], Mapping[str, RunGraph]], object]
"""A function that replays the requests that were recorded in a version's directory. Takes the directory, the
signatures and the graph of each; raises ArtifactError."""

MAX_ROWS = 32
"""The largest batch where the settings leave it open. It is not measured, since typical inputs of such a model are not
known."""


@dataclass(frozen=True)
class _Replica:
    """Holds an opened replica of the model."""

    entries: Entries
    signatures: Mapping[str, Signature]


def is_without_manifest(directory: Path) -> bool:
    """Returns whether a version's directory holds a model without a manifest."""
    return not (directory / FILE_NAME).is_file() and runtime_of(directory) is not None


def check_complete(directory: Path) -> None:
    """Checks that a version has not been copied only in part.

    Raises:
        ArtifactError: the version has no manifest, but an older version of the model has one, so the manifest is
            probably still to be copied.
    """
    before = manifest_before(directory) if is_without_manifest(directory) else None
    if before is not None:
        raise ArtifactError(
            f"{directory} has no {FILE_NAME}, which version {before} has: it is still being copied, or it is a model "
            "without a manifest, which needs another model name or must be requested by its version number"
        )


def runtime_of(directory: Path) -> str | None:
    """Returns the runtime of the model without a manifest in `directory`; a SavedModel comes before a TFLite file."""
    if any((directory / name).is_file() for name in SAVED_MODEL_FILES):
        return "tensorflow"
    return "litert" if any(directory.glob("*.tflite")) else None


def load(directory: Path, settings: ModelSettings, warm_ups: Sequence[WarmUp] = ()) -> LoadedModel:
    """Opens a model without a manifest and replays its warm-up requests.

    Raises:
        ArtifactError: the files cannot be used, or a warm-up request fails. NotFound: there is no model for the
            runtime of the settings. FailedPrecondition: no such device. MissingExtra
    """
    runtime = runtime_of(directory) if settings.runtime == "auto" else settings.runtime
    instances, threads = instance_plan(settings.instances, settings.threads, usable_cores())
    workers = instances * len(settings.devices)
    replicas: list[_Replica] = []
    try:
        # The replicas of different devices alternate, so that a few batches already use all devices.
        for _ in range(1 if runtime in CONCURRENT else instances):
            replicas += [_open(directory, runtime, threads, device, settings) for device in settings.devices]
        for replica in replicas * settings.warmup:
            for warm_up in warm_ups:
                warm_up(directory, replica.signatures, replica.entries.runs)
    except BaseException:
        for replica in replicas:
            replica.entries.close()
        raise
    assert runtime is not None, "there is at least one replica"
    return LoadedModel(
        pipelines=(),
        workers=workers,
        threads=threads,
        limits=_limits(settings, runtime),
        bounds=settings.bounds,
        max_request_rows=settings.max_request_rows,
        entries=tuple(replica.entries for replica in replicas),
        signatures=replicas[0].signatures,
        runtime=runtime,
        devices=settings.devices,
    )


def _limits(settings: ModelSettings, runtime: str) -> BatchLimits:
    if settings.largest_batch is not None:
        return settings.limits(settings.largest_batch)
    if settings.batching and runtime == "tensorflow":
        return settings.limits(MAX_ROWS)
    # LiteRT needs an interpreter for each size of a batch, and batching gains little, so requests are not batched.
    return replace(settings.limits(settings.max_request_rows), batching=False)


def _open(directory: Path, runtime: str | None, threads: int, device: str, settings: ModelSettings) -> _Replica:
    if runtime == "tensorflow":
        return _open_saved_model(directory, threads, device, settings)
    if runtime == "litert":
        return _open_tflite(directory, threads, device)
    raise NotFound(f"{directory} has no manifest.json and no model for the runtime {runtime}")


def _open_saved_model(directory: Path, threads: int, device: str, settings: ModelSettings) -> _Replica:
    from cvserve.runtimes.session import SavedModelSession

    session = SavedModelSession(
        directory, threads=threads, device=device, resources=settings.resources, tags=settings.saved_model_tags
    )
    signatures = {key: _signature(key, session.entries[key], session.definitions[key]) for key in session.entries}
    return _Replica(Entries({key: entry.run for key, entry in session.entries.items()}, session.close), signatures)


def _signature(key: str, entry: SessionEntry, definition: Any) -> Signature:
    return Signature(
        key,
        entry.inputs,
        entry.outputs,
        method_name=definition.method_name,
        definition=definition,
        defaults=entry.defaults,
        batched=open_batch((*entry.inputs.values(), *entry.outputs.values())),
        strict=False,
    )


def _open_tflite(directory: Path, threads: int, device: str) -> _Replica:
    files = sorted(directory.glob("*.tflite"))
    if len(files) > 1:
        files = [file for file in files if file.name == "model.tflite"] or files
    if len(files) != 1:
        what = "no .tflite file" if not files else f"several .tflite files ({', '.join(file.name for file in files)})"
        raise ArtifactError(f"{directory} has {what}; call the one to serve model.tflite")
    runtimes = {key: _open_signature(files[0], key, threads, device) for key in _tflite_keys(files[0])}
    if DEFAULT not in runtimes and len(runtimes) == 1:
        # The only signature is also used for requests that name none.
        runtimes[DEFAULT] = next(iter(runtimes.values()))
    signatures = {
        key: Signature(
            key,
            runtime.inputs,
            runtime.outputs,
            batched=open_batch((*runtime.inputs.values(), *runtime.outputs.values())),
            strict=False,
        )
        for key, runtime in runtimes.items()
    }

    def close() -> None:
        for runtime in runtimes.values():
            runtime.close()

    return _Replica(Entries({key: runtime.run for key, runtime in runtimes.items()}, close), signatures)


def _tflite_keys(file: Path) -> list[str]:
    """Returns the signatures of a TFLite file. A file without any has one signature with the default name."""
    from cvserve.runtimes.litert import signature_keys

    return signature_keys(file) or [DEFAULT]


def _open_signature(file: Path, key: str, threads: int, device: str) -> Runtime:
    from cvserve.runtimes.litert import LiteRtRuntime

    return LiteRtRuntime(file, threads=threads, device=device, signature=key, any_shape=True)
