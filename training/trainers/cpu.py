"""What this CPU can do: whether it computes in bfloat16, and on how many threads.

A CPU without bfloat16 instructions emulates them, many times slower than float32. And a thread
that waits for another by spinning, OpenMP's default, holds a core that a busy machine needs.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BFLOAT16 = ("avx512_bf16", "amx_bf16")
"""Flags of an x86 CPU that multiplies in bfloat16; others are taken to have no such thing."""
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def has_bfloat16(capabilities: Mapping[str, Any]) -> bool:
    """Whether a CPU multiplies in bfloat16.

    Args:
        capabilities: Its flags, as `torch.cpu.get_capabilities` names them.
    """
    return any(capabilities.get(flag) for flag in BFLOAT16)


def computes_in_bfloat16(*, cuda: bool) -> bool:
    """Whether the device computes in bfloat16: this machine's GPU, or its CPU."""
    import torch

    if cuda:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return has_bfloat16(torch.cpu.get_capabilities())


def threads(cores: int, quota: str) -> int:
    """How many threads to compute on.

    Args:
        cores: Those that this process may use.
        quota: A control group's `cpu.max`, "QUOTA PERIOD" or "max PERIOD"; empty where none is.
    """
    allowed, _, period = quota.strip().partition(" ")
    if allowed.isdigit() and period.isdigit():  # a container sees every core of its machine
        cores = min(cores, round(int(allowed) / int(period)))
    return max(1, cores)


def thread_environment() -> dict[str, str]:
    """What OpenMP is told, before torch is loaded, unless the environment says otherwise."""
    try:
        quota = _QUOTA.read_text(encoding="ascii")
    except OSError:
        quota = ""
    ours = {
        "OMP_WAIT_POLICY": "passive",
        "OMP_NUM_THREADS": str(threads(len(os.sched_getaffinity(0)), quota)),
    }
    return {name: os.environ.get(name, value) for name, value in ours.items()}
