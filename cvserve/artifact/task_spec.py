"""Defines what a manifest holds for its task: the base of each task's classes, and the table of the tasks.

A task is known when `cvserve.artifact.tasks` has a module of its name with a `SPEC`, or when a `TaskSpec` has been
registered: `TASK_SPECS.register("depth", TaskSpec(...))`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, ValidationError
from pydantic_core import PydanticCustomError

from cvserve.artifact.base import Spec
from cvserve.tasks import TaskTable

if TYPE_CHECKING:
    from typing_extensions import Self

    from cvserve.artifact.manifest import Manifest


class HasPostproc(Protocol):
    """Matches a manifest, or anything else with a `postproc`."""

    @property
    def postproc(self) -> PostprocSpec:
        """Returns how outputs become results."""


class PostprocSpec(Spec):
    """Is the base of the settings that turn a task's outputs into results. A request may override some of them.

    A subclass sets `task` to the task's name: `task: Literal["depth"] = "depth"`.
    """

    task: str

    @classmethod
    def of(cls, contract: HasPostproc) -> Self:
        """Returns `contract.postproc` as an instance of this class.

        Raises:
            TypeError: it belongs to another task.
        """
        if not isinstance(contract.postproc, cls):
            raise TypeError(f"a {cls.__name__} was expected, not a {type(contract.postproc).__name__}")
        return contract.postproc

    def describe(self) -> list[tuple[str, str]]:
        """Returns what `cvserve inspect` prints of it: pairs of a name and a text. Empty texts are left out."""
        return []


class Parity(Spec):
    """Is the base of the figures that compare a graph's answers with the original network's, on real images.

    A subclass sets `task` to the task's name and adds the figures of its own.

    images: how many were compared. max_abs_difference: the largest difference of the compared output; the subclass says
    which that is. agreement: share of the images with the same answer in the task's own metric, 0 to 1. limit: the
    largest max_abs_difference that is allowed. against: what the graph was compared with.
    """

    task: str
    images: int = Field(ge=0)
    max_abs_difference: float
    agreement: float = Field(ge=0, le=1)
    limit: float
    against: str = "keras"

    @property
    def fault(self) -> str | None:
        """Returns why the graph does not answer as the network does, or None when it does."""
        if self.max_abs_difference <= self.limit:  # false for NaN too
            return None
        return f"an output is {self.max_abs_difference:.3g} away from the network's (limit {self.limit:g})"

    @property
    def holds(self) -> bool:
        """Returns whether all figures are within their limits."""
        return self.fault is None

    def describe(self) -> list[str]:
        """Returns the task's own figures as short texts, for `cvserve inspect`."""
        return []


@dataclass(frozen=True)
class TaskSpec:
    """Defines a task's part of the manifest.

    postproc, parity: the classes of `Manifest.postproc` and of every `parity`. check: looks at a manifest whose fields
    are valid each for itself, and raises a ValueError where they do not fit together.
    """

    postproc: type[PostprocSpec]
    parity: type[Parity]
    check: Callable[[Manifest], None]


TASK_SPECS: TaskTable[TaskSpec] = TaskTable("cvserve.artifact.tasks", "SPEC", what="manifest")


def check_task(task: str) -> str:
    """Returns the name of a task as it is.

    Raises:
        ValueError: there is no such task.
    """
    if not isinstance(task, str) or task not in TASK_SPECS:  # A damaged file may hold a value of any type here.
        raise ValueError(f"{task!r} is not a task; it is one of {', '.join(TASK_SPECS.names())}")
    return task


def default_postproc(task: str) -> PostprocSpec:
    """Returns the settings of a task whose settings all have defaults.

    Raises:
        ValidationError: one has none.
    """
    return TASK_SPECS[task].postproc.model_validate({})


def _by_task(part: Literal["postproc", "parity"]) -> BeforeValidator:
    """Returns a validator that makes a mapping an instance of the class that belongs to its "task"."""

    def validate(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        try:
            spec = TASK_SPECS[check_task(value.get("task", ""))]
            return getattr(spec, part).model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise PydanticCustomError(part, "{text}", {"text": f"{where}: {first['msg']}"}) from error

    return BeforeValidator(validate)


Task = Annotated[str, AfterValidator(check_task)]
"""The name of a task, such as "detection"."""

AnyPostproc = Annotated[SerializeAsAny[PostprocSpec], _by_task("postproc")]
"""Field type: the `PostprocSpec` of any task, chosen by its "task"."""

AnyParity = Annotated[SerializeAsAny[Parity], _by_task("parity")]
"""Field type: the `Parity` of any task, chosen by its "task"."""


def need_labels(manifest: Manifest) -> None:
    """Checks that a manifest has labels.

    Raises:
        ValueError: the manifest has no labels.
    """
    if not manifest.labels:
        raise ValueError(f"a {manifest.task} model needs labels")


def need_outputs(manifest: Manifest, *roles: str) -> None:
    """Checks that a manifest has an output of each role.

    Raises:
        ValueError: one of the roles belongs to no output.
    """
    for role in roles:
        if manifest.output(role) is None:
            raise ValueError(f"a {manifest.task} model needs an output of role {role}")
