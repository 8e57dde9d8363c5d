"""Answers Classify, Regress and MultiInference, over gRPC and REST: from serialised tf.Examples to classes or
values."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from cvserve.errors import InvalidInput
from cvserve.serving.core.engine import Engine, ModelRef
from cvserve.serving.core.servable import Servable
from cvserve.serving.core.signatures import CLASSIFY_METHOD, DEFAULT, REGRESS_METHOD, Signature
from cvserve.serving.protocols.tensorflow_serving import examples as rules
from cvserve.serving.protocols.tensorflow_serving.examples import Examples
from cvserve.serving.protocols.tensorflow_serving.metric_names import TensorFlowServingMetrics


@dataclass(frozen=True)
class ExampleClasses:
    """Holds the label and score of each class of each example, and the model, version and signature that gave them."""

    model: ModelRef
    signature: str
    classes: list[rules.ClassList]


@dataclass(frozen=True)
class ExampleValues:
    """Holds a number for each example, and the model, version and signature that gave them."""

    model: ModelRef
    signature: str
    values: list[float]


class ExampleInference:
    """Answers requests that hold tf.Examples. Used from the loop's thread only."""

    def __init__(self, engine: Engine, metrics: TensorFlowServingMetrics) -> None:
        self._engine = engine
        self._metrics = metrics

    async def classify(
        self, model: ModelRef, signature: str, examples: Examples, deadline: float = math.inf
    ) -> ExampleClasses:
        """Returns the classes of each example.

        Args:
            signature: its name; "" for the default one.
            deadline: in the loop's time.

        Raises:
            As `infer`; InvalidInput: there is no such signature. NotFound, Unavailable: there is no such model.
        """
        with self._engine.accept(model) as servable:
            definition = _signature(servable, signature)
            self._metrics.examples(model.name, len(examples.examples))
            [answer] = await infer(servable, [(definition, CLASSIFY_METHOD)], examples, deadline)
            assert isinstance(answer, ExampleClasses)
            return answer

    async def regress(
        self, model: ModelRef, signature: str, examples: Examples, deadline: float = math.inf
    ) -> ExampleValues:
        """Returns a number for each example. See `classify`."""
        with self._engine.accept(model) as servable:
            definition = _signature(servable, signature)
            self._metrics.examples(model.name, len(examples.examples))
            [answer] = await infer(servable, [(definition, REGRESS_METHOD)], examples, deadline)
            assert isinstance(answer, ExampleValues)
            return answer

    async def multi(
        self, model: ModelRef, tasks: Sequence[rules.Task], examples: Examples, deadline: float = math.inf
    ) -> list[ExampleClasses | ExampleValues]:
        """Gives the same examples to several signatures of one model.

        Args:
            model: the model of the first task, whose version answers all tasks.

        Returns:
            An answer for each task, in their order.

        Raises:
            As `infer`; InvalidInput: the tasks do not fit together, or a signature is not there.
        """
        with self._engine.accept(model) as servable:
            rules.check_tasks(tasks)
            wanted = [(_task_signature(servable, task.effective_signature), task.method) for task in tasks]
            self._metrics.examples(model.name, len(examples.examples))
            return await infer(servable, wanted, examples, deadline)


async def infer(
    servable: Servable, tasks: Sequence[tuple[Signature, str]], examples: Examples, deadline: float = math.inf
) -> list[ExampleClasses | ExampleValues]:
    """Gives examples to signatures that parse them.

    Args:
        tasks: each signature with its method: CLASSIFY_METHOD or REGRESS_METHOD.
        deadline: in the loop's time.

    Returns:
        An answer for each task, in their order.

    Raises:
        InvalidInput: no examples, or ones that the graph cannot parse; a signature whose outputs are not those of its
            method.
        FailedPrecondition: a signature without the method's inputs or outputs.
        Overloaded, Unavailable, DeadlineExceeded
    """
    outputs = [rules.check_task(method, signature) for signature, method in tasks]
    if len({signature.inputs[rules.INPUTS].name for signature, _ in tasks}) > 1:
        raise InvalidInput("Input tensor must be the same for all Signatures.")
    strings = {rules.INPUTS: rules.merged(examples.examples, examples.context)}
    running = [
        asyncio.ensure_future(servable.predict(signature, strings, names, deadline=deadline))
        for (signature, _), names in zip(tasks, outputs, strict=True)
    ]
    try:
        answers = await asyncio.gather(*running)
    finally:
        # When one task fails the others are cancelled: they must not use the version after its handle is released.
        for one in running:
            one.cancel()
    model, count = ModelRef(servable.name, servable.version), len(examples.examples)
    return [
        ExampleClasses(model, signature.name, rules.class_lists(answer, count))
        if method == CLASSIFY_METHOD
        else ExampleValues(model, signature.name, rules.values(answer, count))
        for (signature, method), answer in zip(tasks, answers, strict=True)
    ]


def _signature(servable: Servable, name: str) -> Signature:
    signature = servable.signatures.get(name or DEFAULT)
    if signature is None:
        raise InvalidInput(f"No signature was found with the name: {name or DEFAULT}")
    return signature


def _task_signature(servable: Servable, name: str) -> Signature:
    signature = servable.signatures.get(name)
    if signature is None:
        raise InvalidInput(f"Requested signature not found in model graph: {name}")
    return signature
