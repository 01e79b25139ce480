"""What a CPU can do is read from its flags and its quota, and never from its name."""

import os
import subprocess
import sys

import pytest

from training.trainers import cpu


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2": True}, False),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_f": True, "avx512_bf16": True}, True),
        ({"amx_tile": True, "amx_int8": True}, False),
        ({"amx_tile": True, "amx_bf16": True}, True),
        ({}, False),
    ],
)
def test_bfloat16_needs_avx512_bf16_or_amx(flags: dict[str, bool], expected: bool) -> None:
    assert cpu.has_bfloat16(flags) is expected


def test_this_cpus_flags_are_those_that_the_kernel_lists() -> None:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        listed = next((line for line in file if line.startswith("flags")), "").split()
    assert cpu.computes_in_bfloat16(cuda=False) is bool({*cpu.BFLOAT16} & {*listed})


@pytest.mark.parametrize(
    ("cores", "quota", "expected"),
    [
        (2, "", 2),
        (64, "max 100000\n", 64),
        (64, "200000 100000\n", 2),
        (64, "50000 100000\n", 1),
        (1, "400000 100000\n", 1),
    ],
)
def test_threads_are_the_cores_that_a_container_may_use(
    cores: int, quota: str, expected: int
) -> None:
    assert cpu.threads(cores, quota) == expected


def test_threads_wait_passively_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cpu.thread_environment() == {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "3"}


def test_torch_takes_the_threads_that_it_is_told() -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    env |= {"OMP_WAIT_POLICY": cpu.thread_environment()["OMP_WAIT_POLICY"]}
    program = "import torch; print(torch.get_num_threads())"
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, check=True)
    assert done.stdout == b"1\n"
