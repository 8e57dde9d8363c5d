"""Reads --model_config_file again while the server runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cvserve.errors import CvserveError
from cvserve.serving.core.settings import ModelConfig

READ_FAILED = "Failed to read ModelServerConfig file: "
RELOAD_FAILED = "PollFilesystemAndReloadConfig failed to ReloadConfig: "


async def follow(
    read: Callable[[], list[ModelConfig]],
    apply: Callable[[Sequence[ModelConfig]], Awaitable[None]],
    seconds: float,
    report: Callable[[str], None],
    current: Sequence[ModelConfig] = (),
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Reads the file every so many seconds and applies it when it has changed; never returns.

    If the file cannot be read or applied, the models stay as they are. That is reported once, and tried again every
    time, since a label may name a version that is still loading, and a directory may be added later.

    Args:
        read: returns the models that the file lists now; called in a thread.
        apply: gives these models to the server.
        seconds: the time between two readings.
        report: prints a line.
        current: the models that the server has.
        sleep: waits for the next reading; replaced in tests.
    """
    applied: Sequence[ModelConfig] | None = list(current)
    reported = ""
    while True:
        await sleep(seconds)
        prefix = READ_FAILED
        try:
            configs = await asyncio.to_thread(read)
            if configs != applied:
                prefix, applied = RELOAD_FAILED, None
                await apply(configs)
                applied = configs
                report(f"applied the changed model config: {', '.join(each.name for each in configs) or 'no models'}")
            reported = ""
        except (CvserveError, OSError) as error:
            line = f"{prefix}{error}"
            if line != reported:
                report(line)
            reported = line
