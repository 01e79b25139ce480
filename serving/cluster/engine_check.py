"""Engine settings, judged by vLLM without an engine."""

import asyncio
import os
import sys

from serving.config.settings import Settings
from serving.errors import ConfigError

CHECK_ENGINE_S = 120.0
FAULT = "switchboard-fault: "
"""Begins what the child says of a fault."""


async def check_engine(settings: Settings) -> None:
    """Have vLLM judge engine settings in a process of its own, without starting an engine.

    Raises:
        ConfigError: vLLM refuses them.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "serving.engine.engine"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **settings.environment()},
    )
    try:
        async with asyncio.timeout(CHECK_ENGINE_S):
            out, _ = await process.communicate(settings.model_dump_json().encode())
    except TimeoutError:
        process.kill()
        raise ConfigError(f"engine: the check did not end in {CHECK_ENGINE_S:g} s.") from None
    if process.returncode:
        fault = out.decode("utf-8", "replace").rpartition(FAULT)[2].strip()
        raise ConfigError(fault or "engine: vLLM ended without a word.", param="engine")
