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

    A file that cannot be read or applied leaves the models as they are. It is reported once, and tried again at every
    look, since a label may point at a version that is still loading, and a directory may still come.

    Args:
        read: the models of the file as it is now; called in a thread.
        apply: gives the server those models.
        current: the models that it has.
        sleep: waits for the next look; replaced in tests.
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
