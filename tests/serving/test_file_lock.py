import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving import file_lock

HOLDS = """
import sys
from pathlib import Path
from serving import file_lock
assert file_lock.take(Path(sys.argv[1])) is not None
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert file_lock.take(path) is None
        other.kill()
        other.wait()
        descriptor = file_lock.take(path)
    assert descriptor is not None
    file_lock.release(descriptor)


def test_a_lock_held_for_a_while_is_given_back_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "lock"

    def fail() -> None:
        with file_lock.held(path) as ours, file_lock.held(path) as again:
            assert ours
            assert not again
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    with file_lock.held(path) as ours:
        assert ours


def test_a_copy_of_the_descriptor_in_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    descriptor = file_lock.take(path)
    assert descriptor is not None
    copy = os.dup(descriptor)
    try:
        file_lock.release(descriptor)
        with file_lock.held(path) as ours:
            assert ours
    finally:
        os.close(copy)
