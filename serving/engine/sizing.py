"""What the configuration leaves open and the hardware decides: pure functions of facts.

Each choice names the key that overrides it; a key that is set is never touched. The choices are
made on the machine that runs the engine, when it starts, and are no part of the revision: the
same file stays the same file while other programs come and go.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.config.settings import Settings
from serving.engine.checkpoint import Checkpoint
from serving.engine.hardware import GIB, MIB, Hardware
from serving.errors import ConfigError

UNIPROC = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
THREADS = "OMP_NUM_THREADS"
KV_SPACE = "VLLM_CPU_KVCACHE_SPACE"
BIND = "VLLM_CPU_OMP_THREADS_BIND"
OVERHEAD_BYTES = 3 * GIB
"""What Ray, the replica and the engine take beside weights and KV cache, rounded up."""
KV_SHARE = 0.6  # of what is left: batches and adapters need the rest, and so do other programs
KV_STEP_BYTES = 64 * MIB
CONTEXT_CPU = 8192  # a longer prompt takes minutes on a CPU
CONTEXT_GPU = 32_768
BATCH_TOKENS = 2048  # of each sequence in a full batch; more memory would take long to clear
GPU_SHARE = 0.9
GPU_SPARE_BYTES = GIB
_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


@dataclass(frozen=True, slots=True)
class Choice:
    """A value for a key that was not set, and why."""

    key: str
    value: Any
    why: str

    def __str__(self) -> str:
        value = f"{self.value / GIB:.2f} GiB" if self.key.endswith("_bytes") else self.value
        return f"{self.key}: {value}"


def choose(
    hardware: Hardware,
    checkpoint: Checkpoint,
    settings: Settings,
    environment: Mapping[str, str] | None = None,
) -> list[Choice]:
    """Choose what the settings leave open.

    Args:
        hardware: The machine that the engine runs on.
        checkpoint: The model's sizes.
        settings: The configuration; what it sets is not chosen.
        environment: The process's own variables; those for the engine count as set.
    """
    given = {**(os.environ if environment is None else environment), **settings.environment()}
    if hardware.gpus:
        return _for_gpu(hardware, checkpoint, settings)
    return _for_cpu(hardware, checkpoint, settings, given)


def fill(settings: Settings, choices: list[Choice]) -> Settings:
    """The settings with the choices in their places."""
    parts: dict[str, dict[str, Any]] = {
        "engine": dict(settings.engine),
        "env": dict(settings.env),
        "resources": dict(settings.resources),
    }
    for choice in choices:
        section, _, name = choice.key.partition(".")
        parts[section].setdefault(name, choice.value)
    return settings.model_copy(update=parts)


def gpus(settings: Settings) -> int:
    """How many GPUs an engine takes."""
    return _ranks(settings)


def check(hardware: Hardware, checkpoint: Checkpoint, filled: Settings) -> None:
    """Refuse what will not fit.

    Args:
        hardware: The machine.
        checkpoint: The model's sizes.
        filled: The settings with the choices made.

    Raises:
        ConfigError: The weights, the KV cache or a sequence is larger than what there is.
    """
    faults = []
    dtype = dtype_of(hardware, checkpoint, filled)
    weights = checkpoint.weight_bytes(dtype)
    each = max(1, _sharers(filled))
    if hardware.gpus:
        ranks = _ranks(filled)
        free = sum(gpu.free_bytes for gpu in hardware.gpus[:ranks])
        spare = GPU_SPARE_BYTES * ranks
    else:
        free, spare = hardware.free_bytes // each, OVERHEAD_BYTES // 2
    space = _kv_space(filled)
    needed = weights + spare + (space or 0)
    if needed > free:
        cache = f" and the KV cache {space / GIB:.1f}" if space else ""
        faults.append(
            f"model: its weights take {weights / GIB:.1f} GiB as {dtype}{cache}, the rest of the "
            f"engine {spare / GIB:.1f}; free for each of {each} replica(s): {free / GIB:.1f} GiB. "
            "Free memory, choose a smaller or quantized model, or fewer replicas"
            + (", or lower engine.kv_cache_memory_bytes" if space else "")
            + (", or raise engine.tensor_parallel_size." if hardware.gpus else ".")
        )
    per_token, context = checkpoint.kv_bytes(dtype), filled.engine.get("max_model_len")
    if space and per_token and isinstance(context, int) and context * per_token > space:
        faults.append(
            f"engine.max_model_len: a sequence of {context} tokens takes "
            f"{context * per_token / GIB:.2f} GiB, the KV cache holds {space / GIB:.2f}. Lower it "
            f"to {space // per_token}, or raise engine.kv_cache_memory_bytes."
        )
    if faults:
        raise ConfigError("\n  ".join(faults), param="engine")


def _for_cpu(
    hardware: Hardware, checkpoint: Checkpoint, settings: Settings, given: Mapping[str, str]
) -> list[Choice]:
    engine = settings.engine
    choices = []
    if "dtype" not in engine and not hardware.has_bf16:
        choices.append(Choice("engine.dtype", "float32", "this CPU has no bfloat16 units"))
    binds = given.get(BIND, "nobind") != "nobind"  # which the in-process executor cannot
    if "distributed_executor_backend" not in engine and _ranks(settings) == 1 and not binds:
        choices.append(Choice("engine.distributed_executor_backend", UNIPROC, "one engine process"))
        choices += _threads(hardware, settings)
    dtype = dtype_of(hardware, checkpoint, settings)
    each = _sharers(settings)
    per_token = checkpoint.kv_bytes(dtype)
    context = engine.get("max_model_len")
    sequences = engine.get("max_num_seqs") or min(
        max(16, min(128, 16 * hardware.cores)), engine.get("max_num_batched_tokens") or 128
    )
    space = _kv_space(settings) or (int(given[KV_SPACE]) * GIB if _set(given, KV_SPACE) else None)
    if space is None and "gpu_memory_utilization" not in engine:
        left = hardware.free_bytes // each - checkpoint.weight_bytes(dtype) - OVERHEAD_BYTES
        room = int(max(left, 0) * KV_SHARE)
        limit = context or min(checkpoint.context or CONTEXT_CPU, CONTEXT_CPU)
        tokens = max(limit, sequences * min(limit, BATCH_TOKENS))
        wanted = per_token * tokens if per_token else room
        space = max(KV_STEP_BYTES, min(room, wanted) // KV_STEP_BYTES * KV_STEP_BYTES)
        why = f"of {left / GIB:.1f} GiB left beside the weights" if left > 0 else "the least"
        choices.append(Choice("engine.kv_cache_memory_bytes", space, why))
    if context is None:
        choices += _context(checkpoint, CONTEXT_CPU, space, per_token)
    if "max_num_seqs" not in engine:
        choices.append(Choice("engine.max_num_seqs", sequences, f"{hardware.cores} core(s)"))
    if "max_num_batched_tokens" not in engine:
        batch = max(int(sequences), min(4096, max(1024, 512 * hardware.cores)))
        choices.append(
            Choice("engine.max_num_batched_tokens", batch, "a step that others can wait for")
        )
    return choices


def _for_gpu(hardware: Hardware, checkpoint: Checkpoint, settings: Settings) -> list[Choice]:
    engine = settings.engine
    choices = []
    ranks = gpus(settings)
    dtype = dtype_of(hardware, checkpoint, settings)
    weights = checkpoint.weight_bytes(dtype)
    least = min(gpu.free_bytes for gpu in hardware.gpus)
    share = engine.get("gpu_memory_utilization")
    total = min(gpu.total_bytes for gpu in hardware.gpus)
    if share is None and "kv_cache_memory_bytes" not in engine:
        free = max(0.0, (least - GPU_SPARE_BYTES) / total)
        share = int(100 * min(GPU_SHARE, free)) / 100
        choices.append(
            Choice("engine.gpu_memory_utilization", share, f"{least / GIB:.1f} GiB are free")
        )
    if "max_model_len" not in engine:
        space = _kv_space(settings) or int(ranks * float(share or GPU_SHARE) * total - weights)
        choices += _context(checkpoint, CONTEXT_GPU, space, checkpoint.kv_bytes(dtype))
    return choices  # batch sizes are vLLM's, which knows the GPUs


def _context(
    checkpoint: Checkpoint, most: int, space: int | None, per_token: int | None
) -> list[Choice]:
    """The longest sequence: the model's, unless the cache or the hardware is too small for it."""
    if checkpoint.context is None:
        return []
    bounds = {checkpoint.context: "the model's", most: "what this hardware answers in time"}
    if space is not None and per_token:
        bounds.setdefault(max(space // per_token // 128 * 128, 128), "what the KV cache holds")
    least = min(bounds)
    return [Choice("engine.max_model_len", least, bounds[least])]


def _threads(hardware: Hardware, settings: Settings) -> list[Choice]:
    if THREADS in settings.env:
        return []
    if reserved := int(settings.resources.get("num_cpus", 0)):
        return [Choice(f"env.{THREADS}", str(reserved), "resources.num_cpus")]
    each = _sharers(settings)
    threads = max(1, hardware.cores // each)
    return [Choice(f"env.{THREADS}", str(threads), f"{hardware.cores} core(s), {each} replica(s)")]


def dtype_of(hardware: Hardware, checkpoint: Checkpoint, settings: Settings) -> str:
    """The dtype that the engine computes in, as it is set or will be chosen."""
    dtype = str(settings.engine.get("dtype", "auto"))
    if dtype not in {"auto", "half", "float"}:
        return dtype
    if dtype != "auto":
        return {"half": "float16", "float": "float32"}[dtype]
    if not hardware.gpus and not hardware.has_bf16 and "dtype" not in settings.engine:
        return "float32"
    return "float16" if checkpoint.dtype == "float16" else "bfloat16"


def _sharers(settings: Settings) -> int:
    """How many replicas may share a machine."""
    count = max(settings.replicas, settings.autoscaling.max_replicas)
    return min(count, settings.placement.max_replicas_per_node or count)


def _ranks(settings: Settings) -> int:
    product = 1
    for key in _PARALLEL:
        value = settings.engine.get(key, 1)
        product *= value if isinstance(value, int) and value > 0 else 1
    return product


def _kv_space(settings: Settings) -> int | None:
    space = settings.engine.get("kv_cache_memory_bytes")
    if isinstance(space, int):
        return space
    given = settings.env.get(KV_SPACE, "")
    return int(given) * GIB if given.isdigit() else None


def _set(given: Mapping[str, str], name: str) -> bool:
    return given.get(name, "").isdigit() and given[name] != "0"
