"""Choices by hardware: what is set stays, what fits is chosen, what does not fit is refused."""

from typing import Any

import pytest

from serving.config.settings import Settings
from serving.engine import sizing
from serving.engine.checkpoint import Checkpoint, describe
from serving.engine.hardware import GIB, Gpu, Hardware
from serving.errors import ConfigError

LAPTOP = Hardware(cores=2, memory_bytes=24 * GIB, free_bytes=22 * GIB, has_bf16=False)
XEON = Hardware(cores=32, memory_bytes=256 * GIB, free_bytes=240 * GIB, has_bf16=True)
H100 = Hardware(
    cores=16,
    memory_bytes=128 * GIB,
    free_bytes=120 * GIB,
    has_bf16=True,
    gpus=(Gpu("H100", 80 * GIB, 79 * GIB),),
)
LLAMA_8B = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "max_position_embeddings": 131_072,
    "dtype": "bfloat16",
}
BIG = describe(LLAMA_8B, floats=8_000_000_000)
SMALL = describe(
    LLAMA_8B | {"num_hidden_layers": 30, "hidden_size": 576, "num_attention_heads": 9,
                "num_key_value_heads": 3, "max_position_embeddings": 2048},
    floats=135_000_000,
)  # fmt: skip


def settings(**keys: Any) -> Settings:
    return Settings.model_validate({"model": "m", "lobs": {"care": {}}} | keys)


def chosen(hardware: Hardware, checkpoint: Checkpoint, **keys: Any) -> dict[str, Any]:
    found = sizing.choose(hardware, checkpoint, settings(**keys), {})
    return {choice.key: choice.value for choice in found}


def test_a_cpu_without_bfloat16_units_computes_in_float32() -> None:
    assert chosen(LAPTOP, SMALL)["engine.dtype"] == "float32"
    assert "engine.dtype" not in chosen(XEON, SMALL)
    assert "engine.dtype" not in chosen(H100, SMALL)


def test_one_engine_process_on_a_cpu_runs_in_process_with_all_cores() -> None:
    found = chosen(LAPTOP, SMALL)
    assert found["engine.distributed_executor_backend"] == sizing.UNIPROC
    assert found["env.OMP_NUM_THREADS"] == "2"
    assert chosen(XEON, SMALL, replicas=4)["env.OMP_NUM_THREADS"] == "8"
    assert chosen(XEON, SMALL, resources={"num_cpus": 6})["env.OMP_NUM_THREADS"] == "6"


@pytest.mark.parametrize(
    "keys",
    [
        {"engine": {"tensor_parallel_size": 2}},
        {"env": {"VLLM_CPU_OMP_THREADS_BIND": "0-3"}},
        {"engine": {"distributed_executor_backend": "mp"}},
    ],
)
def test_engines_that_spread_or_bind_cores_keep_their_processes(keys: dict[str, Any]) -> None:
    found = chosen(XEON, SMALL, **keys)
    assert "engine.distributed_executor_backend" not in found
    assert "env.OMP_NUM_THREADS" not in found


def test_the_cache_holds_at_least_one_longest_sequence_and_leaves_memory_free() -> None:
    for hardware, model in ((LAPTOP, SMALL), (XEON, BIG), (XEON, SMALL)):
        found = chosen(hardware, model)
        space = found["engine.kv_cache_memory_bytes"]
        dtype = found.get("engine.dtype", "bfloat16")
        per_token = model.kv_bytes(dtype)
        assert per_token is not None
        assert found["engine.max_model_len"] * per_token <= space
        assert space + model.weight_bytes(dtype) < hardware.free_bytes
        sizing.check(hardware, model, filled(hardware, model))


def test_replicas_of_a_machine_share_its_memory() -> None:
    alone = chosen(LAPTOP, SMALL)["engine.kv_cache_memory_bytes"]
    assert chosen(LAPTOP, SMALL, replicas=4)["engine.kv_cache_memory_bytes"] < alone


def filled(hardware: Hardware, checkpoint: Checkpoint, **keys: Any) -> Settings:
    plain = settings(**keys)
    return sizing.fill(plain, sizing.choose(hardware, checkpoint, plain, {}))


def test_what_is_set_is_never_touched() -> None:
    engine = {
        "dtype": "bfloat16",
        "max_model_len": 512,
        "max_num_seqs": 3,
        "max_num_batched_tokens": 600,
        "kv_cache_memory_bytes": GIB,
        "distributed_executor_backend": "mp",
    }
    assert chosen(LAPTOP, SMALL, engine=engine) == {}
    assert filled(LAPTOP, SMALL, engine=engine).engine == engine
    assert "engine.kv_cache_memory_bytes" not in chosen(
        LAPTOP, SMALL, env={"VLLM_CPU_KVCACHE_SPACE": "1"}
    )
    env = {"OMP_NUM_THREADS": "1"}
    assert filled(LAPTOP, SMALL, env=env).env == env


def test_a_batch_that_is_set_bounds_the_sequences_in_it() -> None:
    assert chosen(XEON, SMALL, engine={"max_num_batched_tokens": 16})["engine.max_num_seqs"] == 16


def test_a_gpu_takes_the_share_that_is_free() -> None:
    assert chosen(H100, BIG)["engine.gpu_memory_utilization"] == 0.9
    busy = Hardware(16, 128 * GIB, 120 * GIB, True, (Gpu("H100", 80 * GIB, 41 * GIB),))
    assert chosen(busy, BIG)["engine.gpu_memory_utilization"] == 0.5
    assert "engine.kv_cache_memory_bytes" not in chosen(H100, BIG)


def test_a_context_over_what_the_cache_holds_is_cut_to_it() -> None:
    small = Hardware(2, 8 * GIB, int(4.2 * GIB), False)
    found = chosen(small, SMALL)
    per_token = SMALL.kv_bytes("float32")
    assert per_token is not None
    assert found["engine.max_model_len"] * per_token <= found["engine.kv_cache_memory_bytes"]


@pytest.mark.parametrize(
    ("hardware", "keys", "fault"),
    [
        (LAPTOP, {}, r"weights take 29\.8 GiB as float32.*22\.0 GiB. Free memory"),
        (XEON, {"replicas": 16}, r"each of 16 replica\(s\): 15\.0 GiB"),
        (XEON, {"engine": {"kv_cache_memory_bytes": 400 * GIB}}, "lower engine.kv_cache_memory"),
        (
            XEON,
            {"engine": {"max_model_len": 100_000, "kv_cache_memory_bytes": GIB}},
            r"engine\.max_model_len: a sequence of 100000 tokens takes 12\.21.*Lower it to 8192",
        ),
        (
            Hardware(8, 64 * GIB, 60 * GIB, True, (Gpu("T4", 16 * GIB, 15 * GIB),)),
            {},
            "raise engine.tensor_parallel_size",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_figures(
    hardware: Hardware, keys: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault):
        sizing.check(hardware, BIG, filled(hardware, BIG, **keys))


def test_unknown_sizes_still_give_a_choice() -> None:
    found = chosen(LAPTOP, Checkpoint())
    assert found["engine.kv_cache_memory_bytes"] > 0
    assert "engine.max_model_len" not in found
