"""Sets how much GPU memory TensorFlow takes, and whether it uses TensorFloat-32, for the whole process."""

from __future__ import annotations

import logging
from typing import Any

from cvserve.runtimes.device import Resources
from cvserve.runtimes.quiet import without_startup_messages

_LOG = logging.getLogger(__name__)


def set_gpus(tensorflow: Any, resources: Resources) -> None:
    """Limits the memory that TensorFlow takes of every GPU; logs a warning if TensorFlow is running already.

    By default TensorFlow takes all the memory of all GPUs at its first operation, also for a model on the CPU, and
    leaves nothing to onnxruntime in the same process. By default it also computes in TensorFloat-32; one model without
    it turns it off for all.
    """
    config = tensorflow.config
    with without_startup_messages():  # the first such call logs the drivers that it searches for
        gpus = config.list_physical_devices("GPU")
    if gpus and not resources.gpu_tf32:
        config.experimental.enable_tensor_float_32_execution(False)
    for gpu in gpus:
        try:
            if resources.gpu_memory_mib is not None:
                if _limit(config, gpu) == resources.gpu_memory_mib:
                    continue
                limited = config.LogicalDeviceConfiguration(memory_limit=resources.gpu_memory_mib)
                config.set_logical_device_configuration(gpu, [limited])
            # A limit and growth exclude each other; a limit that is set already stays.
            elif (
                _limit(config, gpu) is None
                and bool(config.experimental.get_memory_growth(gpu)) != resources.gpu_memory_growth
            ):
                config.experimental.set_memory_growth(gpu, resources.gpu_memory_growth)
        except (RuntimeError, ValueError) as error:
            _LOG.warning(
                "TensorFlow is already running in this process, so what it takes of %s stays as it is: %s",
                gpu.name,
                error,
            )


def _limit(config: Any, gpu: Any) -> float | None:
    configured = config.get_logical_device_configuration(gpu) or []
    return next((item.memory_limit for item in configured if item.memory_limit is not None), None)
