"""Hardware facts: read from what the kernel and nvidia-smi print."""

import os

from serving.engine import hardware
from serving.engine.hardware import GIB, MIB


def test_this_machine_has_cores_and_memory() -> None:
    found = hardware.read()
    assert 1 <= found.cores <= len(os.sched_getaffinity(0))
    assert 0 < found.free_bytes <= found.memory_bytes
    assert str(found)


def test_gpus_are_read_with_their_free_memory() -> None:
    table = "NVIDIA H100, 80GB, 81559, 80994\nNVIDIA H100, 80GB, 81559, 1000\n"
    first, second = hardware.parse_gpus(table)
    assert first == hardware.Gpu("NVIDIA H100, 80GB", 81559 * MIB, 80994 * MIB)
    assert second.free_bytes == 1000 * MIB


def test_what_nvidia_smi_says_instead_of_a_table_is_no_gpu() -> None:
    assert hardware.parse_gpus("NVIDIA-SMI has failed because it couldn't talk to the driver") == ()
    assert hardware.parse_gpus("Tesla, [N/A], [N/A]") == ()


def test_a_container_s_limit_bounds_what_is_free() -> None:
    assert hardware.limited(64 * GIB, 60 * GIB, 8 * GIB, 3 * GIB) == (8 * GIB, 5 * GIB)
    assert hardware.limited(64 * GIB, 2 * GIB, 8 * GIB, 3 * GIB) == (8 * GIB, 2 * GIB)
    assert hardware.limited(64 * GIB, 60 * GIB, 1 << 62, 3 * GIB) == (64 * GIB, 60 * GIB)
    assert hardware.limited(64 * GIB, 60 * GIB, 8 * GIB, 9 * GIB)[1] == 0
